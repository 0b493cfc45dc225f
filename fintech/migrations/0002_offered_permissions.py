"""Record the permissions that releases gave to groups, so that an administrator's removal is not undone."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("fintech", "0001_metrics_epochs"),
    ]

    operations = [
        migrations.CreateModel(
            name="OfferedPermission",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("group", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="auth.group")),
                ("permission", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="auth.permission")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("group", "permission"), name="permission_offered_once")
                ],
            },
        ),
    ]
