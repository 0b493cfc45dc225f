"""Disputes: their states, the merchant's responses, their accounts in the ledger, and the refusal of refunds."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

STEPS = """
    ('opened', 'needs_response'), ('opened', 'lost'), ('needs_response', 'under_review'), ('needs_response', 'lost'),
    ('under_review', 'won'), ('under_review', 'lost'), ('under_review', 'pre_arbitration'),
    ('pre_arbitration', 'final_review'), ('pre_arbitration', 'lost'), ('final_review', 'won'), ('final_review', 'lost')
"""

GUARDS = migrations.RunSQL(
    sql=f"""
    CREATE TRIGGER refuse_outcome BEFORE UPDATE ON payments_dispute FOR EACH ROW
        WHEN (OLD.status IN ('won', 'lost')
                AND (NEW.status, NEW.settled_at) IS DISTINCT FROM (OLD.status, OLD.settled_at)
            OR OLD.status <> NEW.status AND (OLD.status::text, NEW.status::text) NOT IN ({STEPS}))
        EXECUTE FUNCTION payments_refuse_outcome('dispute');
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE ON payments_dispute FOR EACH ROW
        WHEN ((NEW.id, NEW.merchant_id, NEW.transaction_id, NEW.gateway_key, NEW.amount, NEW.fee, NEW.reason,
                NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.merchant_id, OLD.transaction_id, OLD.gateway_key, OLD.amount, OLD.fee,
                OLD.reason, OLD.created_at) OR NEW.sequence < OLD.sequence)
        EXECUTE FUNCTION payments_refuse_rewriting('dispute');
    CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_dispute
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE ON payments_disputeresponse FOR EACH ROW
        WHEN ((NEW.id, NEW.dispute_id, NEW.round, NEW.kind, NEW.text, NEW.files, NEW.actor, NEW.gateway_key,
                NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.dispute_id, OLD.round, OLD.kind, OLD.text, OLD.files, OLD.actor,
                OLD.gateway_key, OLD.created_at) OR OLD.delivered_at IS NOT NULL)
        EXECUTE FUNCTION payments_refuse_rewriting('response to a dispute');
    CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_disputeresponse
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

    -- Refunds and disputes begin under the payment's row lock, so neither overlooks the other.
    CREATE FUNCTION payments_refuse_disputed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM payments_dispute WHERE transaction_id = NEW.transaction_id AND status <> 'won') THEN
            RAISE EXCEPTION 'the payment is disputed: a refund would give its money back twice'
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse_disputed BEFORE INSERT ON payments_refund
        FOR EACH ROW EXECUTE FUNCTION payments_refuse_disputed();
    """,  # noqa: S608 - our own words
    reverse_sql="""
    DROP TRIGGER refuse_disputed ON payments_refund;
    DROP FUNCTION payments_refuse_disputed();
    DROP TRIGGER refuse_delete ON payments_disputeresponse;
    DROP TRIGGER refuse_rewriting ON payments_disputeresponse;
    DROP TRIGGER refuse_delete ON payments_dispute;
    DROP TRIGGER refuse_rewriting ON payments_dispute;
    DROP TRIGGER refuse_outcome ON payments_dispute;
    """,
)


def views(uncounted: str) -> str:
    """Return the views of the totals. `uncounted` are the kinds of events that move money and that no counter holds."""
    return f"""
    CREATE VIEW payments_kpi_tail AS
        SELECT event.id, event.at, coalesce(event.writer_id, 0) AS writer_id, event.kind, payment.currency,
            coalesce(leg.amount, 0) AS amount
        FROM payments_event AS event
        JOIN payments_transaction AS payment ON payment.id = event.transaction_id
        LEFT JOIN payments_ledgerleg AS leg ON leg.transaction_id = event.transaction_id
            AND leg.event_id = event.id AND leg.account = 'gateway_clearing'
        WHERE (event.writer_id IS NOT NULL OR event.kind IN ({uncounted}))
            AND event.id > (SELECT event_id FROM payments_kpiwatermark);
    CREATE VIEW payments_kpi_totals AS
        SELECT writer_id, kind, currency, sum(count)::bigint AS count, sum(amount)::numeric AS amount
        FROM (
            SELECT writer_id, kind, currency, count, amount FROM payments_kpirollup
            UNION ALL
            SELECT writer_id, kind, currency, count(*), sum(amount) FROM payments_kpi_tail GROUP BY 1, 2, 3
        ) AS parts
        GROUP BY writer_id, kind, currency;
    """  # noqa: S608 - our own words


DROP_VIEWS = "DROP VIEW payments_kpi_totals; DROP VIEW payments_kpi_tail;"


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0013_fraud_lists"),
    ]

    operations = [
        # A view holds the type of its columns: `kind` becomes wider.
        migrations.RunSQL(sql=DROP_VIEWS, reverse_sql=views("'refund_succeeded'")),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("gateway_key", models.UUIDField(unique=True)),
                ("amount", models.BigIntegerField()),
                ("fee", models.BigIntegerField()),
                ("reason", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("opened", "Opened, the money is held back"),
                            ("needs_response", "Needs a response"),
                            ("under_review", "Under review by the bank"),
                            ("pre_arbitration", "Pre-arbitration, needs a second response"),
                            ("final_review", "Under final review"),
                            ("won", "Won, the money is returned"),
                            ("lost", "Lost or accepted"),
                        ],
                        max_length=16,
                    ),
                ),
                ("sequence", models.IntegerField()),
                ("evidence_due_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("settled_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="DisputeResponse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("round", models.SmallIntegerField()),
                (
                    "kind",
                    models.CharField(choices=[("evidence", "Evidence"), ("acceptance", "Acceptance")], max_length=10),
                ),
                ("text", models.TextField(blank=True, default="")),
                ("files", models.JSONField(default=list)),
                ("actor", models.TextField()),
                ("gateway_key", models.UUIDField(default=uuid.uuid4)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("attempts", models.IntegerField(db_default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("delivered_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="ledgerleg",
            name="leg_account_known",
        ),
        migrations.AddField(
            model_name="event",
            name="dispute_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AlterField(
            model_name="event",
            name="kind",
            field=models.CharField(max_length=32),
        ),
        migrations.AlterField(
            model_name="kpirollup",
            name="kind",
            field=models.CharField(max_length=32),
        ),
        migrations.AlterField(
            model_name="ledgerleg",
            name="account",
            field=models.CharField(
                choices=[
                    ("gateway_clearing", "Gateway clearing (owed to us by the acquirer)"),
                    ("merchant_payable", "Merchant payable (owed by us to the merchant)"),
                    ("fees", "Fees (earned by us)"),
                    ("refunds", "Refunds (owed back by the merchant)"),
                    ("disputes_held", "Disputes held (held back by the acquirer)"),
                    ("disputes_lost", "Disputes lost (owed back by the merchant)"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerleg",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "account__in",
                        ["gateway_clearing", "merchant_payable", "fees", "refunds", "disputes_held", "disputes_lost"],
                    )
                ),
                name="leg_account_known",
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="merchant",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, to="payments.merchant"
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="transaction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="disputes", to="payments.transaction"
            ),
        ),
        migrations.AddField(
            model_name="disputeresponse",
            name="dispute",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="responses", to="payments.dispute"
            ),
        ),
        migrations.AddIndex(
            model_name="dispute",
            index=models.Index(fields=["merchant", "-id"], name="dispute_merchant_newest"),
        ),
        migrations.AddIndex(
            model_name="dispute",
            index=models.Index(
                condition=models.Q(("status__in", ["needs_response", "pre_arbitration"])),
                fields=["evidence_due_at"],
                name="dispute_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0), ("fee__gte", 0)), name="dispute_amounts_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["opened", "needs_response", "under_review", "pre_arbitration", "final_review", "won", "lost"],
                    )
                ),
                name="dispute_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("settled_at", None),
                        ("status__in", ("opened", "needs_response", "under_review", "pre_arbitration", "final_review")),
                    ),
                    models.Q(("settled_at__isnull", False), ("status__in", ["won", "lost"])),
                    _connector="OR",
                ),
                name="dispute_settled_exactly_if_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", ["needs_response", "pre_arbitration"]), _negated=True),
                    ("evidence_due_at__isnull", False),
                    _connector="OR",
                ),
                name="dispute_response_has_due_date",
            ),
        ),
        migrations.AddIndex(
            model_name="disputeresponse",
            index=models.Index(
                condition=models.Q(("delivered_at", None)), fields=["due_at"], name="dispute_response_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="disputeresponse",
            constraint=models.UniqueConstraint(fields=("dispute", "round"), name="dispute_response_once"),
        ),
        migrations.RunSQL(sql=views("'refund_succeeded', 'dispute_opened', 'dispute_won'"), reverse_sql=DROP_VIEWS),
        GUARDS,
    ]
