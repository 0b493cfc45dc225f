"""Name the document that lists the fraud rules in the help text of a merchant's weights."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0032_validate_checks"),
    ]

    operations = [
        migrations.AlterField(
            model_name="merchant",
            name="fraud_weights",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text='Weights that replace the defaults in docs/api.md, such as {"country_mismatch": 0.4}.',
            ),
        ),
    ]
