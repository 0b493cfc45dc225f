"""The admin's pages call an episode an alert, as its menu does."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("alerts_audit", "0007_leaves_of_other_apps")]

    operations = [
        migrations.AlterModelOptions(
            "episode", {"default_permissions": ("view",), "ordering": ["-id"], "verbose_name": "alert"}
        )
    ]
