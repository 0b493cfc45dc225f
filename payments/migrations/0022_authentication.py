"""Strong customer authentication (3-D Secure): payments that wait for their customer, and the results."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# As in 0018, with the steps of a payment whose customer is challenged.
OUTCOME = "status, manually_captured, fee, failure_code, gateway_reference, settled_at, capture_before"
STEPS_BEFORE = """
        ('processing', 'succeeded'), ('processing', 'declined'), ('processing', 'failed'), ('processing', 'unknown'),
        ('unknown', 'succeeded'), ('unknown', 'declined'), ('unknown', 'failed'),
        ('processing', 'authorized'), ('unknown', 'authorized'), ('authorized', 'succeeded'),
        ('authorized', 'voided'),
        ('processing', 'in_review'), ('unknown', 'in_review'), ('in_review', 'authorized'), ('in_review', 'succeeded'),
        ('in_review', 'voided')"""
STEPS = f"""{STEPS_BEFORE}, ('processing', 'requires_action'),
        ('requires_action', 'succeeded'), ('requires_action', 'declined'), ('requires_action', 'failed'),
        ('requires_action', 'authorized'), ('requires_action', 'in_review')"""
OPEN_BEFORE = "'processing', 'unknown', 'authorized', 'in_review'"
OPEN = f"{OPEN_BEFORE}, 'requires_action'"
DROP_GUARD = "DROP TRIGGER refuse_outcome ON payments_transaction"
# As in 0019.
DROP_TERMS = "DROP TRIGGER refuse_new_terms ON payments_transaction"
TERMS = """
    CREATE TRIGGER refuse_new_terms BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN ((NEW.fee_basis_points, NEW.gateway_key) IS DISTINCT FROM (OLD.fee_basis_points, OLD.gateway_key)
            OR NEW.gateway <> OLD.gateway AND NOT (OLD.status = 'processing' AND NEW.status = 'processing'))
        EXECUTE FUNCTION payments_refuse_rewriting('transaction');
"""


def of_row(row: str) -> str:
    return ", ".join(f"{row}.{column}" for column in OUTCOME.split(", "))


def guard(open_statuses: str, steps: str) -> str:
    return f"""
    CREATE TRIGGER refuse_outcome BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN (OLD.status NOT IN ({open_statuses}) AND ({of_row("NEW")}) IS DISTINCT FROM ({of_row("OLD")})
            OR OLD.status <> NEW.status AND (OLD.status::text, NEW.status::text) NOT IN ({steps})
            OR NEW.manual_capture AND NEW.status = 'succeeded'
                AND OLD.status NOT IN ('succeeded', 'authorized', 'in_review'))
        EXECUTE FUNCTION payments_refuse_outcome('transaction');
    """


# A result is final, and fits the payment's status. Only payments with an authentication have a row here.
GUARDS = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_refuse_second_decision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the result of an authentication cannot change, nor its challenge'
            USING ERRCODE = 'check_violation';
    END $$;
    CREATE TRIGGER refuse_second_decision BEFORE UPDATE ON payments_authentication FOR EACH ROW
        WHEN (OLD.outcome IS NOT NULL OR (NEW.transaction_id, NEW.gateway_key, NEW.url, NEW.expires_at, NEW.created_at)
            IS DISTINCT FROM (OLD.transaction_id, OLD.gateway_key, OLD.url, OLD.expires_at, OLD.created_at))
        EXECUTE FUNCTION payments_refuse_second_decision();

    CREATE FUNCTION payments_refuse_unfit_authentication() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE payment_status text;
    BEGIN
        SELECT status INTO payment_status FROM payments_transaction WHERE id = NEW.transaction_id;
        IF (NEW.outcome IS NULL) <> (payment_status = 'requires_action')
            OR NEW.outcome IN ('failed', 'abandoned') AND payment_status NOT IN ('declined', 'failed') THEN
            RAISE EXCEPTION 'a payment that is % cannot have an authentication that is %',
                payment_status, coalesce(NEW.outcome, 'open') USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_unfit AFTER INSERT OR UPDATE OF outcome ON payments_authentication
        FOR EACH ROW EXECUTE FUNCTION payments_refuse_unfit_authentication();

    CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_authentication
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_delete ON payments_authentication;
    DROP TRIGGER refuse_unfit ON payments_authentication;
    DROP FUNCTION payments_refuse_unfit_authentication();
    DROP TRIGGER refuse_second_decision ON payments_authentication;
    DROP FUNCTION payments_refuse_second_decision();
    """,
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0021_gateway_keys"),
    ]

    operations = [
        # PostgreSQL changes no type of a column that a trigger names.
        migrations.RunSQL(sql=DROP_GUARD, reverse_sql=guard(OPEN_BEFORE, STEPS_BEFORE)),
        migrations.RunSQL(sql=DROP_TERMS, reverse_sql=TERMS),
        migrations.CreateModel(
            name="Authentication",
            fields=[
                (
                    "transaction",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="authentication",
                        serialize=False,
                        to="payments.transaction",
                    ),
                ),
                ("gateway_key", models.UUIDField(null=True)),
                ("url", models.TextField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("authenticated", "authenticated"),
                            ("failed", "failed"),
                            ("abandoned", "abandoned"),
                            ("frictionless", "frictionless"),
                            ("exempt", "exempt"),
                        ],
                        max_length=16,
                        null=True,
                    ),
                ),
                (
                    "liability_shift",
                    models.CharField(
                        choices=[("issuer", "The card's bank"), ("merchant", "Merchant")], max_length=8, null=True
                    ),
                ),
                ("attempts", models.IntegerField(db_default=0)),
                ("due_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("decided_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_status_known",
        ),
        migrations.RemoveConstraint(
            model_name="transaction",
            name="transaction_settled_exactly_if_final",
        ),
        migrations.AddField(
            model_name="merchant",
            name="return_hosts",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=255),
                blank=True,
                db_default=models.Value(
                    [],
                    output_field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=255), size=None
                    ),
                ),
                default=list,
                help_text="Hosts that a payment's return_url may have, such as shop.example or shop.example:8443,"
                " separated by commas. Without one, its customers cannot be authenticated (3-D Secure).",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="return_url",
            field=models.TextField(null=True),
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
                    ("requires_action", "Waits for the customer's authentication"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("manual_capture", False),
                        ("review", None),
                        (
                            "status__in",
                            [
                                "processing",
                                "succeeded",
                                "declined",
                                "blocked",
                                "failed",
                                "unknown",
                                "requires_action",
                            ],
                        ),
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
                                "requires_action",
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
                        ("settled_at", None),
                        ("status__in", ["processing", "unknown", "requires_action", "in_review", "authorized"]),
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
        migrations.AddIndex(
            model_name="authentication",
            index=models.Index(condition=models.Q(("outcome", None)), fields=["due_at"], name="challenge_due"),
        ),
        migrations.AddIndex(
            model_name="authentication",
            index=models.Index(
                condition=models.Q(("outcome", None)), fields=["gateway_key"], name="challenge_open_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="authentication",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("decided_at", None),
                        ("due_at__isnull", False),
                        ("liability_shift", None),
                        ("outcome", None),
                        ("url__isnull", False),
                    ),
                    models.Q(
                        ("decided_at__isnull", False),
                        ("due_at", None),
                        ("liability_shift__in", ["issuer", "merchant"]),
                        ("outcome__in", ("authenticated", "failed", "abandoned", "frictionless", "exempt")),
                    ),
                    _connector="OR",
                ),
                name="authentication_open_or_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="authentication",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("expires_at", None), ("gateway_key", None), ("url", None)),
                    models.Q(("expires_at__isnull", False), ("gateway_key__isnull", False), ("url__isnull", False)),
                    _connector="OR",
                ),
                name="authentication_challenge_is_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="authentication",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("outcome", None),
                    models.Q(("outcome__in", ("failed", "abandoned")), _negated=True),
                    ("liability_shift", "merchant"),
                    _connector="OR",
                ),
                name="authentication_shift_needs_success",
            ),
        ),
        migrations.RunSQL(sql=guard(OPEN, STEPS), reverse_sql=DROP_GUARD),
        migrations.RunSQL(sql=TERMS, reverse_sql=DROP_TERMS),
        GUARDS,
    ]
