"""Authorizations that are captured later: their captures and voids, and the steps between their states."""

import uuid

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.models import Case, Q, Value, When

# A payment that is authorized may still be captured or voided; all other outcomes never change.
OUTCOME = "status, manually_captured, fee, failure_code, gateway_reference, settled_at, capture_before"
STEPS = """
        ('processing', 'succeeded'), ('processing', 'declined'), ('processing', 'failed'), ('processing', 'unknown'),
        ('unknown', 'succeeded'), ('unknown', 'declined'), ('unknown', 'failed'),
        ('processing', 'authorized'), ('unknown', 'authorized'), ('authorized', 'succeeded'),
        ('authorized', 'voided')"""
OUTCOME_BEFORE = "status, fee, failure_code, gateway_reference, settled_at"
STEPS_BEFORE = """
        ('processing', 'succeeded'), ('processing', 'declined'), ('processing', 'failed'), ('processing', 'unknown'),
        ('unknown', 'succeeded'), ('unknown', 'declined'), ('unknown', 'failed')"""
OPERATION_OUTCOME = "status, failure_code, gateway_reference, settled_at"
OPERATION_STEPS = """
        ('processing', 'succeeded'), ('processing', 'failed'), ('processing', 'unknown'),
        ('unknown', 'succeeded'), ('unknown', 'failed')"""
# Only captures make an authorized payment succeed.
NOT_CAPTURED = """
            OR NEW.manual_capture AND NEW.status = 'succeeded' AND OLD.status NOT IN ('succeeded', 'authorized')"""


def of_row(row: str, columns: str) -> str:
    return ", ".join(f"{row}.{column}" for column in columns.split(", "))


def guard(table: str, outcome: str, steps: str, open_statuses: str, more: str = "") -> str:
    return f"""
    CREATE OR REPLACE TRIGGER refuse_outcome BEFORE UPDATE ON payments_{table} FOR EACH ROW
        WHEN (OLD.status NOT IN ({open_statuses})
                AND ({of_row("NEW", outcome)}) IS DISTINCT FROM ({of_row("OLD", outcome)})
            OR OLD.status <> NEW.status AND (OLD.status::text, NEW.status::text) NOT IN ({steps}){more})
        EXECUTE FUNCTION payments_refuse_outcome('{table}');
    """


def refuse_rewriting(table: str, columns: str) -> migrations.RunSQL:
    """Return the guards of what was asked for, and of the row itself."""
    return migrations.RunSQL(
        sql=f"""
        CREATE TRIGGER refuse_rewriting BEFORE UPDATE ON payments_{table} FOR EACH ROW
            WHEN (({of_row("NEW", columns)}) IS DISTINCT FROM ({of_row("OLD", columns)}))
            EXECUTE FUNCTION payments_refuse_rewriting('{table}');
        CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_{table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        """,
        reverse_sql=f"""
        DROP TRIGGER refuse_delete ON payments_{table};
        DROP TRIGGER refuse_rewriting ON payments_{table};
        """,
    )


GUARDS = [
    migrations.RunSQL(
        sql=guard("transaction", OUTCOME, STEPS, "'processing', 'unknown', 'authorized'", NOT_CAPTURED),
        reverse_sql=guard("transaction", OUTCOME_BEFORE, STEPS_BEFORE, "'processing', 'unknown'"),
    ),
    migrations.RunSQL(
        sql="""
        CREATE TRIGGER refuse_new_capture BEFORE UPDATE ON payments_transaction FOR EACH ROW
            WHEN (NEW.manual_capture <> OLD.manual_capture OR NEW.manually_captured < OLD.manually_captured
                OR OLD.capture_before IS NOT NULL AND NEW.capture_before IS DISTINCT FROM OLD.capture_before)
            EXECUTE FUNCTION payments_refuse_rewriting('transaction');
        """,
        reverse_sql="DROP TRIGGER refuse_new_capture ON payments_transaction",
    ),
    *(
        migrations.RunSQL(
            sql=guard(table, OPERATION_OUTCOME, OPERATION_STEPS, "'processing', 'unknown'"),
            reverse_sql=f"DROP TRIGGER refuse_outcome ON payments_{table}",
        )
        for table in ("capture", "void")
    ),
    refuse_rewriting(
        "capture",
        "id, transaction_id, idempotency_key, amount, amount_requested, final, gateway_key, created_at",
    ),
    refuse_rewriting("void", "id, transaction_id, idempotency_key, amount, gateway_key, reason, created_at"),
]


def operation_field(expression: Case) -> models.GeneratedField:
    return models.GeneratedField(db_persist=True, expression=expression, output_field=models.CharField(max_length=16))


# A generated column cannot change its expression: the column is made again, of a table that is nearly empty.
OPERATION = operation_field(
    Case(
        When(Q(refund_id__isnull=False), then=Value("refund")),
        When(Q(capture_id__isnull=False), then=Value("capture")),
        When(Q(void_id__isnull=False), then=Value("void")),
        default=Value("charge"),
    )
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0008_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="Authorization",
            fields=[
                (
                    "transaction",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="held",
                        serialize=False,
                        to="payments.transaction",
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                ("amount_left", models.BigIntegerField()),
                ("amount_reserved", models.BigIntegerField(db_default=0)),
                ("closing_id", models.UUIDField(null=True)),
                ("capture_before", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name="Capture",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("idempotency_key", models.TextField()),
                ("amount", models.BigIntegerField()),
                ("amount_requested", models.BigIntegerField(null=True)),
                ("final", models.BooleanField()),
                ("gateway_key", models.UUIDField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("processing", "Processing"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed, nothing captured"),
                            ("unknown", "Unknown, being resolved"),
                        ],
                        max_length=10,
                    ),
                ),
                ("failure_code", models.TextField(null=True)),
                ("gateway_reference", models.TextField(null=True)),
                ("request_id", models.TextField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("settled_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Void",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("idempotency_key", models.TextField(null=True)),
                ("amount", models.BigIntegerField()),
                ("gateway_key", models.UUIDField()),
                ("reason", models.TextField(null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("processing", "Processing"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed, nothing released"),
                            ("unknown", "Unknown, being resolved"),
                        ],
                        max_length=10,
                    ),
                ),
                ("failure_code", models.TextField(null=True)),
                ("gateway_reference", models.TextField(null=True)),
                ("request_id", models.TextField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("settled_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_status_known",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_refunds_within_amount",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_refunded_only_if_succeeded",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_settled_exactly_if_final",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_fee_follows_from_rate",
        ),
        migrations.AddField(
            model_name="event",
            name="capture_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="event",
            name="void_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="capture_before",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="manual_capture",
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddField(
            model_name="transaction",
            name="manually_captured",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="unresolved",
            name="capture_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="unresolved",
            name="void_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AlterField(
            model_name="idempotencykey",
            name="kind",
            field=models.CharField(
                choices=[("payment", "Payment"), ("refund", "Refund"), ("capture", "Capture"), ("void", "Void")],
                max_length=7,
            ),
        ),
        migrations.AlterField(
            model_name="transaction",
            name="status",
            field=models.CharField(
                choices=[
                    ("processing", "Processing"),
                    ("succeeded", "Succeeded"),
                    ("declined", "Declined by the bank"),
                    ("blocked", "Blocked as fraud"),
                    ("failed", "Failed, not charged"),
                    ("unknown", "Unknown, being resolved"),
                    ("authorized", "Authorized, not captured yet"),
                    ("voided", "Voided, nothing captured"),
                ],
                max_length=10,
            ),
        ),
        migrations.RemoveField(model_name="unresolved", name="operation"),
        migrations.AddField(model_name="unresolved", name="operation", field=OPERATION),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("manual_capture", False),
                        ("status__in", ["processing", "succeeded", "declined", "blocked", "failed", "unknown"]),
                    ),
                    models.Q(
                        ("manual_capture", True),
                        (
                            "status__in",
                            [
                                "processing",
                                "succeeded",
                                "declined",
                                "blocked",
                                "failed",
                                "unknown",
                                "authorized",
                                "voided",
                            ],
                        ),
                    ),
                    _connector="OR",
                ),
                name="transaction_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_refunded__gte", 0),
                    ("amount_refunded__lte", models.F("amount_reserved")),
                    models.Q(
                        models.Q(("amount_reserved__lte", models.F("amount")), ("manual_capture", False)),
                        ("amount_reserved__lte", models.F("manually_captured")),
                        _connector="OR",
                    ),
                ),
                name="transaction_refunds_within_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_reserved", 0), ("status", "succeeded"), ("status", "authorized"), _connector="OR"
                ),
                name="transaction_refunded_only_if_succeeded",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("manually_captured", 0),
                        models.Q(
                            ("manual_capture", False), models.Q(("status", "succeeded"), _negated=True), _connector="OR"
                        ),
                    ),
                    models.Q(
                        ("manual_capture", True),
                        ("manually_captured__gt", 0),
                        ("manually_captured__lte", models.F("amount")),
                        ("status__in", ["authorized", "succeeded"]),
                    ),
                    _connector="OR",
                ),
                name="transaction_captured_within_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("capture_before", None),
                        models.Q(
                            ("manual_capture", False),
                            models.Q(("status__in", ("authorized", "succeeded", "voided")), _negated=True),
                            _connector="OR",
                        ),
                    ),
                    models.Q(
                        ("capture_before__isnull", False),
                        ("manual_capture", True),
                        ("status__in", ("authorized", "succeeded", "voided")),
                    ),
                    _connector="OR",
                ),
                name="transaction_expires_if_authorized",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        (
                            "fee",
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("amount"), "*", models.F("fee_basis_points")
                                    ),
                                    "+",
                                    models.Value(5000),
                                ),
                                "/",
                                models.Value(10000),
                            ),
                        ),
                        ("manual_capture", False),
                        ("status", "succeeded"),
                    ),
                    models.Q(("manual_capture", False), models.Q(("status", "succeeded"), _negated=True), ("fee", 0)),
                    models.Q(
                        (
                            "fee",
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("manually_captured"), "*", models.F("fee_basis_points")
                                    ),
                                    "+",
                                    models.Value(5000),
                                ),
                                "/",
                                models.Value(10000),
                            ),
                        ),
                        ("manual_capture", True),
                    ),
                    _connector="OR",
                ),
                name="transaction_fee_follows_from_rate",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_at", None), ("status__in", ["processing", "unknown", "authorized"])),
                    models.Q(
                        ("settled_at__isnull", False),
                        ("status__in", ["succeeded", "declined", "blocked", "failed", "voided"]),
                    ),
                    _connector="OR",
                ),
                name="transaction_settled_exactly_if_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="authorization",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_left__gt", 0),
                    ("amount_reserved__gte", 0),
                    ("amount_reserved__lte", models.F("amount_left")),
                ),
                name="authorization_reserved_within_left",
            ),
        ),
        migrations.AddField(
            model_name="capture",
            name="transaction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="captures", to="payments.transaction"
            ),
        ),
        migrations.AddField(
            model_name="void",
            name="transaction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="voids", to="payments.transaction"
            ),
        ),
        migrations.AddConstraint(
            model_name="capture",
            constraint=models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="capture_amount_positive"),
        ),
        migrations.AddConstraint(
            model_name="capture",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_at", None), ("status__in", ["processing", "unknown"])),
                    models.Q(("settled_at__isnull", False), ("status__in", ["succeeded", "failed"])),
                    _connector="OR",
                ),
                name="capture_settled_exactly_if_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="capture",
            constraint=models.UniqueConstraint(
                condition=models.Q(("final", True), models.Q(("status", "failed"), _negated=True)),
                fields=("transaction",),
                name="capture_final_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="void",
            constraint=models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="void_amount_positive"),
        ),
        migrations.AddConstraint(
            model_name="void",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_at", None), ("status__in", ["processing", "unknown"])),
                    models.Q(("settled_at__isnull", False), ("status__in", ["succeeded", "failed"])),
                    _connector="OR",
                ),
                name="void_settled_exactly_if_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="void",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "failed"), _negated=True), fields=("transaction",), name="void_once"
            ),
        ),
        *GUARDS,
    ]
