import django.db.models.functions.datetime
import django.db.models.lookups
from django.db import migrations, models

import alerts_audit.models
from fintech.database.append_only import append_only


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("source", models.TextField(help_text="The source of the token.")),
                ("content_type", models.TextField(null=True)),
                (
                    "content_encoding",
                    models.TextField(help_text="A compressed body is stored unchanged.", null=True),
                ),
                ("body", models.BinaryField()),
                ("sha256", models.BinaryField(verbose_name="SHA-256")),
                ("size", models.BigIntegerField(help_text="Bytes.")),
                ("request_id", models.TextField(null=True)),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "constraints": [
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(alerts_audit.models.OctetLength("sha256"), 32),
                        name="delivery_sha256_length",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.GreaterThanOrEqual(
                            models.F("size"), alerts_audit.models.OctetLength("body")
                        ),
                        name="delivery_size",
                    ),
                ],
            },
        ),
        append_only("alerts_audit_delivery"),
    ]
