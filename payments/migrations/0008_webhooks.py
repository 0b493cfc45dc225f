"""Webhooks to merchants: endpoints, secrets, announcements, deliveries and attempts."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from fintech.database.append_only import append_only

# Announcements begin with the journal's next event. The lock waits for entries that are not committed yet: an id below
# the mark could still appear.
BEGIN_AT_THE_END = migrations.RunSQL(
    sql="""
    LOCK TABLE payments_event IN SHARE MODE;
    INSERT INTO payments_webhookwatermark (event_id) SELECT coalesce(max(id), 0) FROM payments_event;
    """,
    reverse_sql="DELETE FROM payments_webhookwatermark",
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0007_references_by_statement"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed, not tried again"),
                        ],
                        db_default="pending",
                        max_length=9,
                    ),
                ),
                ("tries", models.SmallIntegerField(db_default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("queued_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("delivered_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="WebhookWatermark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.BigIntegerField(db_default=0)),
            ],
        ),
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("payments:read", "Read payments"),
                        ("payments:write", "Make payments"),
                        ("refunds:write", "Refund payments"),
                        ("webhooks:write", "Manage webhook endpoints"),
                    ],
                    max_length=32,
                ),
                default=list,
                size=None,
            ),
        ),
        migrations.CreateModel(
            name="WebhookAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("delivered", "Delivered"),
                            ("refused", "Answered with another status than 2xx"),
                            ("redirect", "Answered with a redirect, which is not followed"),
                            ("gone", "Answered 410 Gone"),
                            ("timeout", "No answer in time"),
                            ("connection", "Not reached, or no HTTP answer"),
                            ("certificate", "The certificate is not valid"),
                            ("address", "The address is not public"),
                        ],
                        max_length=11,
                    ),
                ),
                ("status_code", models.SmallIntegerField(null=True)),
                ("milliseconds", models.IntegerField()),
                ("answer", models.TextField(blank=True, default="")),
                (
                    "delivery",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="attempts",
                        to="payments.webhookdelivery",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("url", models.TextField(verbose_name="URL")),
                ("description", models.TextField(blank=True, default="")),
                (
                    "event_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Types of events, such as payment.succeeded. Empty: all.",
                        size=None,
                    ),
                ),
                ("is_enabled", models.BooleanField(default=True)),
                (
                    "disabled_because",
                    models.CharField(
                        choices=[
                            ("merchant", "Disabled by the merchant"),
                            ("failing", "It failed for five days"),
                            ("gone", "It answered 410 Gone"),
                        ],
                        editable=False,
                        max_length=8,
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("failures", models.IntegerField(db_default=0, editable=False)),
                ("failing_since", models.DateTimeField(editable=False, null=True)),
                ("retry_at", models.DateTimeField(editable=False, null=True)),
                ("lease_token", models.UUIDField(editable=False, null=True)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="webhook_endpoints",
                        to="payments.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.AddField(
            model_name="webhookdelivery",
            name="endpoint",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="deliveries",
                to="payments.webhookendpoint",
            ),
        ),
        migrations.CreateModel(
            name="WebhookEvent",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("type", models.TextField()),
                ("data", models.JSONField(null=True)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "journal",
                    models.OneToOneField(
                        db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, to="payments.event"
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="payments.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.AddField(
            model_name="webhookdelivery",
            name="event",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="deliveries",
                to="payments.webhookevent",
            ),
        ),
        migrations.CreateModel(
            name="WebhookSecret",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("encrypted", models.BinaryField(max_length=256)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("expires_at", models.DateTimeField(editable=False, null=True)),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="secrets",
                        to="payments.webhookendpoint",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.AddConstraint(
            model_name="webhookendpoint",
            constraint=models.UniqueConstraint(fields=("merchant", "url"), name="webhook_endpoint_once"),
        ),
        migrations.AddConstraint(
            model_name="webhookendpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("disabled_because", None), ("is_enabled", True)),
                    models.Q(("disabled_because__isnull", False), ("is_enabled", False)),
                    _connector="OR",
                ),
                name="webhook_endpoint_disabled_for_a_reason",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(fields=["merchant", "-id"], name="webhook_event_merchant_newest"),
        ),
        migrations.AddConstraint(
            model_name="webhookevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("data__isnull", True), ("journal__isnull", False)),
                    models.Q(("data__isnull", False), ("journal", None)),
                    _connector="OR",
                ),
                name="webhook_event_has_one_object",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("status", "pending")), fields=["endpoint", "id"], name="webhook_delivery_pending"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["endpoint", "-id"], name="webhook_delivery_newest"),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(fields=("event", "endpoint"), name="webhook_delivery_once"),
        ),
        append_only("payments_webhookevent"),
        append_only("payments_webhookattempt"),
        BEGIN_AT_THE_END,
    ]
