"""Events from the gateway: stored as they came, and processed once."""

import django.db.models.functions.datetime
from django.db import migrations, models

# The event never changes, and neither does its outcome.
GUARD = migrations.RunSQL(
    sql="""
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE ON payments_gatewayevent FOR EACH ROW
        WHEN ((NEW.id, NEW.gateway, NEW.identifier, NEW.body, NEW.sent_at, NEW.received_at, NEW.request_id)
            IS DISTINCT FROM
            (OLD.id, OLD.gateway, OLD.identifier, OLD.body, OLD.sent_at, OLD.received_at, OLD.request_id)
            OR OLD.processed_at IS NOT NULL)
        EXECUTE FUNCTION payments_refuse_rewriting('gateway event');
    CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_gatewayevent
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_delete ON payments_gatewayevent;
    DROP TRIGGER refuse_rewriting ON payments_gatewayevent;
    """,
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0009_authorizations"),
    ]

    operations = [
        migrations.CreateModel(
            name="GatewayEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("gateway", models.TextField()),
                ("identifier", models.TextField()),
                ("body", models.BinaryField()),
                ("sent_at", models.DateTimeField()),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("request_id", models.TextField(null=True)),
                ("type", models.TextField(null=True)),
                ("attempts", models.IntegerField(db_default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("applied", "Applied"),
                            ("ignored", "Ignored: nothing was left to do"),
                            ("refused", "Refused: it contradicts our rows"),
                            ("unreadable", "Unreadable"),
                            ("unknown_type", "Of an unknown type"),
                        ],
                        max_length=12,
                        null=True,
                    ),
                ),
                ("detail", models.TextField(blank=True, default="")),
                ("processed_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("processed_at", None)), fields=["due_at"], name="gateway_event_due"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("gateway", "identifier"), name="gateway_event_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("outcome", None), ("processed_at", None)),
                            models.Q(("outcome__isnull", False), ("processed_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="gateway_event_outcome_if_processed",
                    ),
                ],
            },
        ),
        GUARD,
    ]
