"""Reviews of payments, velocity rules with their counters, and retries that are refused for a time."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from fintech.database.append_only import append_only

OUTCOME = "status, manually_captured, fee, failure_code, gateway_reference, settled_at, capture_before"
STEPS_BEFORE = """
        ('processing', 'succeeded'), ('processing', 'declined'), ('processing', 'failed'), ('processing', 'unknown'),
        ('unknown', 'succeeded'), ('unknown', 'declined'), ('unknown', 'failed'),
        ('processing', 'authorized'), ('unknown', 'authorized'), ('authorized', 'succeeded'),
        ('authorized', 'voided')"""
STEPS = f"""{STEPS_BEFORE},
        ('processing', 'in_review'), ('unknown', 'in_review'), ('in_review', 'authorized'), ('in_review', 'succeeded'),
        ('in_review', 'voided')"""


def of_row(row: str) -> str:
    return ", ".join(f"{row}.{column}" for column in OUTCOME.split(", "))


def guard(steps: str, changing: str, held: str) -> str:
    """Return the guard of the steps. Only captures make a payment succeed that was held."""
    return f"""
    CREATE OR REPLACE TRIGGER refuse_outcome BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN (OLD.status NOT IN ({changing}) AND ({of_row("NEW")}) IS DISTINCT FROM ({of_row("OLD")})
            OR OLD.status <> NEW.status AND (OLD.status::text, NEW.status::text) NOT IN ({steps})
            OR NEW.manual_capture AND NEW.status = 'succeeded' AND OLD.status NOT IN ('succeeded', {held}))
        EXECUTE FUNCTION payments_refuse_outcome('transaction');
    """


def fixed(more: str) -> str:
    return f"""
    CREATE OR REPLACE TRIGGER refuse_new_capture BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN (NEW.manual_capture <> OLD.manual_capture OR NEW.manually_captured < OLD.manually_captured
            OR OLD.capture_before IS NOT NULL AND NEW.capture_before IS DISTINCT FROM OLD.capture_before{more})
        EXECUTE FUNCTION payments_refuse_rewriting('transaction');
    """


def record_settings(*settings: str) -> str:
    names = ", ".join(f"'{name}'" for name in settings)
    return f"""
    CREATE OR REPLACE FUNCTION payments_record_fraud_settings() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO payments_fraudchange (merchant_id, actor, subject, before, after)
        SELECT NEW.id, payments_fraud_actor(), setting, to_jsonb(OLD) -> setting, to_jsonb(NEW) -> setting
        FROM unnest(ARRAY[{names}]) AS setting
        WHERE to_jsonb(OLD) -> setting <> to_jsonb(NEW) -> setting;
        RETURN NULL;
    END $$;
    """  # noqa: S608 - our own words


SETTINGS = ("country", "fraud_threshold", "fraud_weights", "unscored_limit_minor")
GUARDS = [
    migrations.RunSQL(
        sql=guard(STEPS, "'processing', 'unknown', 'authorized', 'in_review'", "'authorized', 'in_review'")
        + fixed(" OR NEW.review IS DISTINCT FROM OLD.review"),
        reverse_sql=guard(STEPS_BEFORE, "'processing', 'unknown', 'authorized'", "'authorized'") + fixed(""),
    ),
    append_only("payments_review"),
    migrations.RunSQL(
        sql=record_settings(*SETTINGS, "review_threshold", "refuse_forbidden_retries"),
        reverse_sql=record_settings(*SETTINGS),
    ),
    migrations.RunSQL(
        sql="""
        CREATE FUNCTION payments_record_velocity_rule() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO payments_fraudchange (merchant_id, actor, subject, before, after) VALUES (
                CASE TG_OP WHEN 'DELETE' THEN OLD.merchant_id ELSE NEW.merchant_id END, payments_fraud_actor(),
                'velocity_rule',
                CASE TG_OP WHEN 'INSERT' THEN NULL ELSE to_jsonb(OLD) - '{merchant_id,created_at}'::text[] END,
                CASE TG_OP WHEN 'DELETE' THEN NULL ELSE to_jsonb(NEW) - '{merchant_id,created_at}'::text[] END);
            RETURN NULL;
        END $$;
        CREATE TRIGGER record_velocity_rule AFTER INSERT OR UPDATE OR DELETE ON payments_velocityrule
            FOR EACH ROW EXECUTE FUNCTION payments_record_velocity_rule();
        CREATE TRIGGER refuse_rewriting BEFORE UPDATE ON payments_velocityrule FOR EACH ROW
            WHEN ((NEW.id, NEW.merchant_id, NEW.field, NEW.measure, NEW.currency, NEW.window_seconds)
                IS DISTINCT FROM (OLD.id, OLD.merchant_id, OLD.field, OLD.measure, OLD.currency, OLD.window_seconds))
            EXECUTE FUNCTION payments_refuse_rewriting('velocity rule');
        -- A counter changes with each payment: room for the new version on the same page leaves its index untouched.
        ALTER TABLE payments_velocitycounter SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
        """,
        reverse_sql="""
        DROP TRIGGER refuse_rewriting ON payments_velocityrule;
        DROP TRIGGER record_velocity_rule ON payments_velocityrule;
        DROP FUNCTION payments_record_velocity_rule();
        """,
    ),
]


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0015_disputes"),
    ]

    operations = [
        migrations.CreateModel(
            name="RefusedRetry",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "merchant_id",
                        "method",
                        "amount",
                        "currency",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("merchant_id", models.BigIntegerField()),
                ("method", models.TextField()),
                ("amount", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("failure_code", models.TextField()),
                ("until", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "refused retries",
            },
        ),
        migrations.CreateModel(
            name="Review",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("idempotency_key", models.TextField()),
                ("decision", models.CharField(choices=[("accept", "Accepted"), ("refuse", "Refused")], max_length=6)),
                ("reason", models.TextField(null=True)),
                ("actor", models.TextField()),
                ("request_id", models.TextField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="VelocityCounter",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "rule_id", "value", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("rule_id", models.BigIntegerField()),
                ("value", models.TextField()),
                ("newest", models.BigIntegerField()),
                ("slots", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
            ],
        ),
        migrations.CreateModel(
            name="VelocityRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "field",
                    models.CharField(
                        choices=[("customer", "Customer"), ("token", "Payment token"), ("country", "Card country")],
                        max_length=8,
                        verbose_name="per",
                    ),
                ),
                (
                    "measure",
                    models.CharField(
                        choices=[("count", "Number of payments"), ("sum", "Sum of amounts")], max_length=5
                    ),
                ),
                (
                    "currency",
                    models.CharField(
                        blank=True,
                        help_text="Of a sum, such as EUR: it adds payments in this currency only.",
                        max_length=3,
                        null=True,
                    ),
                ),
                ("window_seconds", models.PositiveIntegerField(help_text="From 60 (a minute) to 2592000 (30 days).")),
                (
                    "maximum",
                    models.BigIntegerField(
                        help_text="Number of payments, or minor units. A payment beyond it is held or blocked."
                    ),
                ),
                (
                    "outcome",
                    models.CharField(choices=[("review", "Hold for a review"), ("block", "Block")], max_length=6),
                ),
                ("is_enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "note",
                    models.CharField(blank=True, default="", help_text="The reason for this rule.", max_length=255),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
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
            name="transaction_expires_if_authorized",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_settled_exactly_if_final",
        ),
        migrations.AddField(
            model_name="merchant",
            name="refuse_forbidden_retries",
            field=models.BooleanField(
                default=False,
                help_text="Refuse a payment that repeats a declined one before the advice of its decline allows it.",
            ),
        ),
        migrations.AddField(
            model_name="merchant",
            name="review_threshold",
            field=models.FloatField(
                blank=True, help_text="Payments with this score or more are held for a review. Empty: none.", null=True
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="review",
            field=models.CharField(
                choices=[("capture", "Captured if accepted"), ("hold", "Authorized if accepted")],
                max_length=7,
                null=True,
            ),
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
                        ("reviews:write", "Accept and refuse payments in review"),
                    ],
                    max_length=32,
                ),
                default=list,
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="idempotencykey",
            name="kind",
            field=models.CharField(
                choices=[
                    ("payment", "Payment"),
                    ("refund", "Refund"),
                    ("capture", "Capture"),
                    ("void", "Void"),
                    ("review", "Review"),
                ],
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
                    ("in_review", "In review, held"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="merchant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("review_threshold", None),
                    models.Q(("review_threshold__gte", 0), ("review_threshold__lte", 1)),
                    _connector="OR",
                ),
                name="merchant_review_threshold_is_a_share",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("manual_capture", False),
                        ("review", None),
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
                                "in_review",
                            ],
                        ),
                        models.Q(
                            ("review__in", ["capture", "hold"]),
                            models.Q(("review", None), models.Q(("status", "in_review"), _negated=True)),
                            _connector="OR",
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
                    models.Q(
                        ("capture_before", None),
                        models.Q(
                            ("manual_capture", False),
                            models.Q(("status__in", ("in_review", "authorized", "succeeded", "voided")), _negated=True),
                            _connector="OR",
                        ),
                    ),
                    models.Q(
                        ("capture_before__isnull", False),
                        ("manual_capture", True),
                        ("status__in", ("in_review", "authorized", "succeeded", "voided")),
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
                        ("settled_at", None), ("status__in", ["processing", "unknown", "in_review", "authorized"])
                    ),
                    models.Q(
                        ("settled_at__isnull", False),
                        ("status__in", ["succeeded", "declined", "blocked", "failed", "voided"]),
                    ),
                    _connector="OR",
                ),
                name="transaction_settled_exactly_if_final",
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="transaction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="reviews", to="payments.transaction"
            ),
        ),
        migrations.AddField(
            model_name="velocityrule",
            name="merchant",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="velocity_rules",
                to="payments.merchant",
            ),
        ),
        migrations.AddConstraint(
            model_name="velocityrule",
            constraint=models.UniqueConstraint(
                fields=("merchant", "field", "measure", "currency", "window_seconds", "outcome"),
                name="velocity_rule_once",
                nulls_distinct=False,
                violation_error_message="The merchant has this rule already: change its maximum.",
            ),
        ),
        migrations.AddConstraint(
            model_name="velocityrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("field__in", ["customer", "token", "country"]), ("outcome__in", ["review", "block"])
                ),
                name="velocity_rule_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="velocityrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("currency", None), ("measure", "count")),
                    models.Q(("currency__isnull", False), ("currency__regex", "^[A-Z]{3}$"), ("measure", "sum")),
                    _connector="OR",
                ),
                name="velocity_rule_sum_has_currency",
                violation_error_message="A sum needs a currency, and a number of payments has none.",
            ),
        ),
        migrations.AddConstraint(
            model_name="velocityrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("window_seconds__gte", 60), ("window_seconds__lte", 2592000)),
                name="velocity_rule_window_possible",
                violation_error_message="A window is from 60 to 2592000 seconds.",
            ),
        ),
        migrations.AddConstraint(
            model_name="velocityrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("maximum__gte", 0)), name="velocity_rule_maximum_not_negative"
            ),
        ),
        migrations.AlterModelOptions(
            name="transaction",
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("refund_transaction", "Can refund a transaction"),
                    ("capture_transaction", "Can capture an authorized transaction"),
                    ("void_transaction", "Can void an authorized transaction"),
                    ("resolve_transaction", "Can request to resolve a transaction now"),
                    ("review_transaction", "Can accept and refuse a transaction in review"),
                ],
            },
        ),
        *GUARDS,
    ]
