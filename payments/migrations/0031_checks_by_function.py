"""Check the columns of a payment together in one function, and the legs of a posting in one trigger.

PostgreSQL reads the text of a check constraint again for each statement; those of payments took a seventh of the time
of a group commit. A function is read once for each session. This one has the conditions of the constraints that it
replaces. It also refuses a payment that is `in_review` without a review, whose constraint was NULL.

Two triggers read the new legs, and one of them looked for the event of each leg. Now one trigger reads them, and looks
for each event once.

The reverse reads all payments to add the old constraints again, and payments wait for it.
"""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

ARGUMENTS = """status varchar, settled_at timestamptz, amount bigint, amount_reserved bigint, amount_refunded bigint,
        fee bigint, fee_basis_points smallint, manual_capture boolean, manually_captured bigint,
        capture_before timestamptz, review varchar"""
CONSISTENT = migrations.RunSQL(
    sql=f"""
    CREATE FUNCTION payments_is_consistent({ARGUMENTS}) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        RETURN (
            NOT manual_capture AND review IS NULL
                AND status IN ('processing', 'succeeded', 'declined', 'blocked', 'failed', 'unknown', 'requires_action')
            OR manual_capture
                AND status IN ('processing', 'succeeded', 'declined', 'blocked', 'failed', 'unknown', 'authorized',
                    'voided', 'in_review', 'requires_action')
                AND CASE WHEN review IS NULL THEN status <> 'in_review' ELSE review IN ('capture', 'hold') END
        ) AND amount_refunded >= 0 AND amount_refunded <= amount_reserved AND (
            NOT manual_capture AND amount_reserved <= amount OR amount_reserved <= manually_captured
        ) AND (
            amount_reserved = 0 OR status IN ('succeeded', 'authorized')
        ) AND (
            manually_captured = 0 AND (NOT manual_capture OR status <> 'succeeded')
            OR manual_capture AND manually_captured > 0 AND manually_captured <= amount
                AND status IN ('authorized', 'succeeded')
        ) AND (
            capture_before IS NULL
                AND (NOT manual_capture OR status NOT IN ('in_review', 'authorized', 'succeeded', 'voided'))
            OR manual_capture AND capture_before IS NOT NULL
                AND status IN ('in_review', 'authorized', 'succeeded', 'voided')
        ) AND fee >= 0 AND fee <= amount AND (
            NOT manual_capture AND status = 'succeeded' AND fee = (amount * fee_basis_points + 5000) / 10000
            OR NOT manual_capture AND status <> 'succeeded' AND fee = 0
            OR manual_capture AND fee = (manually_captured * fee_basis_points + 5000) / 10000
        ) AND (
            settled_at IS NULL AND status IN ('processing', 'unknown', 'requires_action', 'in_review', 'authorized')
            OR settled_at IS NOT NULL AND status IN ('succeeded', 'declined', 'blocked', 'failed', 'voided')
        );
    END $$;
    -- The role that writes a row executes its checks, also where the owner's defaults give no rights on new functions.
    GRANT EXECUTE ON FUNCTION payments_is_consistent TO PUBLIC;
    """,
    reverse_sql="DROP FUNCTION payments_is_consistent",
)
REPLACED = [
    "transaction_status_known",
    "transaction_refunds_within_amount",
    "transaction_refunded_only_if_succeeded",
    "transaction_captured_within_amount",
    "transaction_expires_if_authorized",
    "transaction_fee_within_amount",
    "transaction_fee_follows_from_rate",
    "transaction_settled_exactly_if_final",
]

# A leg whose transaction is not its event's is refused, so the legs of an event have one transaction.
LEGS = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_refuse_wrong_legs() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
    DECLARE wrong record;
    BEGIN
        SELECT event_id, transaction_id, currency, sum(amount) AS rest INTO wrong FROM added
        GROUP BY event_id, transaction_id, currency
        HAVING sum(amount) <> 0 OR (SELECT event.transaction_id FROM payments_event AS event
            WHERE event.id = added.event_id) IS DISTINCT FROM added.transaction_id
        LIMIT 1;
        IF FOUND AND wrong.rest <> 0 THEN
            RAISE EXCEPTION 'the legs of event % sum to % %, not to zero', wrong.event_id, wrong.rest, wrong.currency
                USING ERRCODE = 'check_violation';
        ELSIF FOUND THEN
            RAISE EXCEPTION 'transaction % of a leg has no event %', wrong.transaction_id, wrong.event_id
                USING ERRCODE = 'foreign_key_violation';
        END IF;
        RETURN NULL;
    END $$;
    DROP TRIGGER refuse_unbalanced ON payments_ledgerleg;
    DROP TRIGGER refuse_unknown_event ON payments_ledgerleg;
    CREATE TRIGGER refuse_wrong_legs AFTER INSERT ON payments_ledgerleg REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION payments_refuse_wrong_legs();
    DROP FUNCTION payments_refuse_unbalanced();
    DROP FUNCTION payments_refuse_unknown_event();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_wrong_legs ON payments_ledgerleg;
    DROP FUNCTION payments_refuse_wrong_legs();
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
    CREATE FUNCTION payments_refuse_unknown_event() RETURNS trigger LANGUAGE plpgsql
        SET enable_seqscan = off AS $$
    DECLARE wrong record;
    BEGIN
        SELECT added.* INTO wrong FROM added WHERE (
            SELECT event.transaction_id FROM payments_event AS event WHERE event.id = added.event_id)
            IS DISTINCT FROM added.transaction_id
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transaction % of a leg has no event %', wrong.transaction_id, wrong.event_id
                USING ERRCODE = 'foreign_key_violation';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_unknown_event AFTER INSERT ON payments_ledgerleg REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION payments_refuse_unknown_event();
    """,
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0030_retired_totals"),
    ]

    operations = [
        CONSISTENT,
        AddConstraintNotValid(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    "status",
                    "settled_at",
                    "amount",
                    "amount_reserved",
                    "amount_refunded",
                    "fee",
                    "fee_basis_points",
                    "manual_capture",
                    "manually_captured",
                    "capture_before",
                    "review",
                    function="payments_is_consistent",
                    output_field=models.BooleanField(),
                ),
                name="transaction_is_consistent",
            ),
        ),
        *(migrations.RemoveConstraint(model_name="transaction", name=name) for name in REPLACED),
        LEGS,
    ]
