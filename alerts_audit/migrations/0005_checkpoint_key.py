from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts_audit", "0004_pending")]

    operations = [
        migrations.AddField(
            model_name="checkpoint",
            name="public_key",
            field=models.TextField(help_text="The key itself; NULL in rows older than this column.", null=True),
        ),
    ]
