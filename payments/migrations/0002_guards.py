"""Constraints and triggers against data that must never exist, for every role."""

from django.db import migrations

from fintech.database.append_only import append_only

# A final outcome never changes, nor does what was asked for; `amount_*` may, by refunds. The conditions are the
# triggers' own: a function is only called to refuse.
TERMINAL = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_refuse_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a % that is % cannot become %, nor its outcome change', TG_ARGV[0], OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END $$;
    CREATE FUNCTION payments_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'what a % asked for cannot change', TG_ARGV[0] USING ERRCODE = 'check_violation';
    END $$;

    CREATE TRIGGER refuse_outcome BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN (OLD.status NOT IN ('processing', 'unknown')
                AND (NEW.status, NEW.fee, NEW.failure_code, NEW.gateway_reference, NEW.settled_at)
                IS DISTINCT FROM (OLD.status, OLD.fee, OLD.failure_code, OLD.gateway_reference, OLD.settled_at)
            OR OLD.status = 'unknown' AND NEW.status = 'processing')
        EXECUTE FUNCTION payments_refuse_outcome('transaction');
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN ((NEW.id, NEW.merchant_id, NEW.idempotency_key, NEW.amount, NEW.currency, NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.merchant_id, OLD.idempotency_key, OLD.amount, OLD.currency, OLD.created_at))
        EXECUTE FUNCTION payments_refuse_rewriting('transaction');

    CREATE TRIGGER refuse_outcome BEFORE UPDATE ON payments_refund FOR EACH ROW
        WHEN (OLD.status NOT IN ('processing', 'unknown')
                AND (NEW.status, NEW.failure_code, NEW.gateway_reference, NEW.settled_at)
                IS DISTINCT FROM (OLD.status, OLD.failure_code, OLD.gateway_reference, OLD.settled_at)
            OR OLD.status = 'unknown' AND NEW.status = 'processing')
        EXECUTE FUNCTION payments_refuse_outcome('refund');
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE ON payments_refund FOR EACH ROW
        WHEN ((NEW.id, NEW.transaction_id, NEW.idempotency_key, NEW.amount, NEW.amount_requested, NEW.created_at)
            IS DISTINCT FROM
            (OLD.id, OLD.transaction_id, OLD.idempotency_key, OLD.amount, OLD.amount_requested, OLD.created_at))
        EXECUTE FUNCTION payments_refuse_rewriting('refund');
    """,
    reverse_sql="""
    DROP TRIGGER refuse_rewriting ON payments_refund;
    DROP TRIGGER refuse_outcome ON payments_refund;
    DROP TRIGGER refuse_rewriting ON payments_transaction;
    DROP TRIGGER refuse_outcome ON payments_transaction;
    DROP FUNCTION payments_refuse_rewriting();
    DROP FUNCTION payments_refuse_outcome();
    """,
)

# A posting is one statement, and its legs sum to zero per event and currency. Checked once a statement over
# its new rows: cheaper than a deferred trigger for each row, and it refuses earlier.
ZERO_SUM = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE wrong record;
    BEGIN
        SELECT event_id, currency, sum(amount) AS rest INTO wrong FROM added
        GROUP BY event_id, currency HAVING sum(amount) <> 0 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'the legs of event % sum to % %, not to zero', wrong.event_id, wrong.rest, wrong.currency
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_unbalanced AFTER INSERT ON payments_ledgerleg REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION payments_refuse_unbalanced();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_unbalanced ON payments_ledgerleg;
    DROP FUNCTION payments_refuse_unbalanced();
    """,
)

# Payments refer to merchants without a foreign key, so no role may delete one.
KEPT = migrations.RunSQL(
    sql="""
    CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_merchant
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_transaction
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON payments_refund
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_delete ON payments_refund;
    DROP TRIGGER refuse_delete ON payments_transaction;
    DROP TRIGGER refuse_delete ON payments_merchant;
    """,
)

# Room on each page for the update that settles a payment: a HOT update touches no index.
ROOM = migrations.RunSQL(
    sql="ALTER TABLE payments_transaction SET (fillfactor = 85)",
    reverse_sql="ALTER TABLE payments_transaction RESET (fillfactor)",
)

# Every event that counts, by who counted it (0: refunds, which no counter holds): the rolled-up part and the tail
# after the watermark. The amount is read from the ledger, so that revenue is compared with what was really posted.
KPI_TOTALS = migrations.RunSQL(
    sql="""
    INSERT INTO payments_kpiwatermark (event_id) VALUES (0);
    CREATE VIEW payments_kpi_tail AS
        SELECT event.id, event.at, coalesce(event.writer_id, 0) AS writer_id, event.kind, payment.currency,
            coalesce(leg.amount, 0) AS amount
        FROM payments_event AS event
        JOIN payments_transaction AS payment ON payment.id = event.transaction_id
        LEFT JOIN payments_ledgerleg AS leg ON leg.transaction_id = event.transaction_id
            AND leg.event_id = event.id AND leg.account = 'gateway_clearing'
        WHERE (event.writer_id IS NOT NULL OR event.kind = 'refund_succeeded')
            AND event.id > (SELECT event_id FROM payments_kpiwatermark);
    CREATE VIEW payments_kpi_totals AS
        SELECT writer_id, kind, currency, sum(count)::bigint AS count, sum(amount)::numeric AS amount
        FROM (
            SELECT writer_id, kind, currency, count, amount FROM payments_kpirollup
            UNION ALL
            SELECT writer_id, kind, currency, count(*), sum(amount) FROM payments_kpi_tail GROUP BY 1, 2, 3
        ) AS parts
        GROUP BY writer_id, kind, currency;
    """,
    reverse_sql="""
    DROP VIEW payments_kpi_totals;
    DROP VIEW payments_kpi_tail;
    DELETE FROM payments_kpiwatermark;
    DELETE FROM payments_kpirollup; -- or what it holds would be counted again from the first event on
    """,
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0001_initial")]
    operations = [
        append_only("payments_event"),
        append_only("payments_ledgerleg"),
        append_only("payments_writer"),
        append_only("payments_idempotencykey"),  # one that is gone, or points elsewhere, could charge twice
        TERMINAL,
        ZERO_SUM,
        KEPT,
        ROOM,
        KPI_TOTALS,
    ]
