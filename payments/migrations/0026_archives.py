"""Archives of payments: events, legs and webhooks may be deleted once a verified file has them, and only then."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from fintech.database.append_only import append_only

# The way from a deleted row to its payment. The archive deletes in the opposite order, so each row is still found.
EVENT = "LEFT JOIN payments_event AS event ON event.id = {}.journal_id"
ANNOUNCED = f"LEFT JOIN payments_webhookevent AS announced ON announced.id = {{}}.event_id {EVENT.format('announced')}"
DELIVERY = (
    f"LEFT JOIN payments_webhookdelivery AS delivery ON delivery.id = gone.delivery_id {ANNOUNCED.format('delivery')}"
)
DROPPED = {
    "payments_event": ("", "gone.transaction_id"),
    "payments_ledgerleg": ("", "gone.transaction_id"),
    "payments_webhookevent": (EVENT.format("gone"), "event.transaction_id"),
    "payments_webhookdelivery": (ANNOUNCED.format("gone"), "event.transaction_id"),
    "payments_webhookattempt": (DELIVERY, "event.transaction_id"),
}
APPEND_ONLY = [table for table in DROPPED if table != "payments_webhookdelivery"]  # its rows have a status

# Checked once for each statement that deletes. Inserts do not call it, so a payment costs nothing more.
REFUSE = """
    CREATE FUNCTION payments_refuse_unarchived() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
    DECLARE
        archived uuid[];
        is_refused boolean := true;
    BEGIN
        SELECT payments INTO archived FROM payments_archivedpart
        WHERE id = nullif(current_setting('payments.archived_part', true), '')::bigint;
        IF FOUND THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM gone %s WHERE NOT coalesce(%s = ANY ($1), false))',
                TG_ARGV[0], TG_ARGV[1]) INTO is_refused USING archived;
        END IF;
        IF is_refused THEN
            RAISE EXCEPTION '% is append-only: DELETE of what no archive holds is refused', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $$;
"""

# Taken back, the database would not know any more what was dropped.
KEEP_RECORD = """
    DO $$
    BEGIN
        IF EXISTS (SELECT FROM payments_archive) THEN
            RAISE EXCEPTION 'payments were archived: this migration cannot be taken back';
        END IF;
    END $$;
"""


def guard(table: str, join: str, payment: str) -> str:
    return (
        f"CREATE TRIGGER refuse_unarchived AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone"
        f" FOR EACH STATEMENT EXECUTE FUNCTION payments_refuse_unarchived('{join}', '{payment}')"
    )


def refuse(table: str, operations: str) -> str:
    return (
        f"CREATE TRIGGER append_only BEFORE {operations} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


GUARDS = migrations.RunSQL(
    sql=[
        REFUSE,
        *(f"DROP TRIGGER append_only ON {table}" for table in APPEND_ONLY),
        *(refuse(table, "UPDATE OR TRUNCATE") for table in APPEND_ONLY),
        *(guard(table, *way) for table, way in DROPPED.items()),
    ],
    reverse_sql=[
        KEEP_RECORD,
        *(f"DROP TRIGGER refuse_unarchived ON {table}" for table in DROPPED),
        *(f"DROP TRIGGER append_only ON {table}" for table in APPEND_ONLY),
        *(refuse(table, "UPDATE OR DELETE OR TRUNCATE") for table in APPEND_ONLY),
        "DROP FUNCTION payments_refuse_unarchived()",
    ],
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0025_open_challenges"),
    ]

    operations = [
        migrations.CreateModel(
            name="Archive",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("before", models.DateTimeField(help_text="Everything in it happened before then.")),
                ("last_event", models.BigIntegerField(help_text="The journal's event up to which it was selected.")),
                ("payments", models.BigIntegerField()),
                ("file_name", models.TextField(unique=True)),
                ("file_sha256", models.BinaryField()),
                ("contents", models.JSONField(help_text="The last line of the file: its counts and sums.")),
                ("by", models.TextField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name": "payments archive",
                "ordering": ["-id"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="ArchivedTotal",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "archive_id",
                        "merchant_id",
                        "gateway",
                        "kind",
                        "account",
                        "currency",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("archive_id", models.BigIntegerField()),
                ("merchant_id", models.BigIntegerField()),
                ("gateway", models.TextField()),
                ("kind", models.CharField(max_length=32)),
                ("account", models.CharField(max_length=16)),
                ("currency", models.CharField(max_length=3)),
                ("count", models.BigIntegerField()),
                ("amount", models.DecimalField(decimal_places=0, max_digits=30)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="ArchivedPart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.IntegerField()),
                ("first_payment", models.UUIDField()),
                ("last_payment", models.UUIDField()),
                ("payments", django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), size=None)),
                ("operations", django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), size=None)),
                (
                    "archive",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="parts",
                        to="payments.archive",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "default_permissions": (),
                "indexes": [models.Index(fields=["-last_payment", "first_payment"], name="archived_part_payments")],
                "constraints": [
                    models.UniqueConstraint(fields=("archive", "number"), name="archived_part_once"),
                    models.CheckConstraint(
                        condition=models.Q(("first_payment__lte", models.F("last_payment"))),
                        name="archived_part_in_order",
                    ),
                ],
            },
        ),
        append_only("payments_archive"),
        append_only("payments_archivedpart"),
        GUARDS,
    ]
