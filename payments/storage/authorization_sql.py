"""The statements that settle authorizations, captures and voids, set-based like those in `payment_sql.py`.

The payment's row is locked before its authorization's, as the services do. The totals count events: those of the
operations, and those of the payments that they complete. Their amount is what became revenue.
"""
# ruff: noqa: S608 - the SQL is made of our own constants

from payments.ledger.postings import fee_sql, legs_sql
from payments.states import AUTHORIZATION, CAPTURE, HOLDING, VOID, CaptureStatus, ChargeStatus, VoidStatus, sql_list
from payments.storage.payment_sql import Part, select_result


def take_answers(part: Part, more_columns: str = "") -> str:
    """Return the beginning of a statement: the rows of `part`, and `ours`, those whose lease was still theirs."""
    return f"""WITH input AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%({part})s::json) AS item(
        id uuid, lease_token uuid, status text, failure_code text, gateway_reference text,{more_columns}
        actor text, data jsonb)
), ours AS (
    DELETE FROM payments_unresolved AS work USING input
    WHERE work.resource_id = ANY (ARRAY(SELECT id FROM input))
        AND work.resource_id = input.id AND work.lease_token = input.lease_token
    RETURNING input.*
)"""


def set_decision(answers: str) -> str:
    """Return the assignments that store the bank's answer.

    An approved payment that is captured later is held until `capture_before`, for a review if it needs one.
    """
    is_held = f"{answers}.status = '{ChargeStatus.AUTHORIZED}'"
    return f"""status = CASE WHEN {is_held} AND payment.review IS NOT NULL
            THEN '{ChargeStatus.IN_REVIEW}' ELSE {answers}.status END,
        failure_code = {answers}.failure_code, gateway_reference = {answers}.gateway_reference,
        settled_at = CASE WHEN NOT {is_held} THEN now() END,
        capture_before = CASE WHEN {is_held} THEN now() + make_interval(secs => {answers}.hold_seconds) END"""


SETTLE_AUTHORIZATIONS = f"""
{take_answers(Part.AUTHORIZED, " hold_seconds float8,")}, settled AS (
    UPDATE payments_transaction AS payment
    SET {set_decision("ours")}
    FROM ours
    WHERE payment.id = ANY (ARRAY(SELECT id FROM ours)) AND payment.id = ours.id
        AND payment.status IN {sql_list(AUTHORIZATION.open)}
    RETURNING payment.id, payment.amount, payment.currency, payment.status, payment.settled_at, payment.capture_before
), event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT ours.id, settled.status, clock_timestamp(), ours.actor, %(writer)s::bigint, ours.data
    FROM ours JOIN settled ON settled.id = ours.id
), held AS (
    INSERT INTO payments_authorization (transaction_id, currency, amount_left, capture_before)
    SELECT id, currency, amount, capture_before FROM settled WHERE status IN {sql_list(HOLDING)}
), counted AS (
    SELECT id, status, currency, 0 AS amount FROM settled
)
{select_result(Part.AUTHORIZED, rows="input", stored="counted")}
"""

# One event for the capture, and one for a payment that it completes. The fee of all captures is the fee of their sum:
# each capture posts the difference that it makes.
SETTLE_CAPTURES = f"""
{take_answers(Part.CAPTURED)}, settled AS (
    UPDATE payments_capture AS capture
    SET status = ours.status, failure_code = ours.failure_code, gateway_reference = ours.gateway_reference,
        settled_at = now()
    FROM ours
    WHERE capture.id = ANY (ARRAY(SELECT id FROM ours)) AND capture.id = ours.id
        AND capture.status IN {sql_list(CAPTURE.open)}
    RETURNING capture.id, capture.transaction_id, capture.amount, capture.final, capture.status, capture.settled_at,
        CASE WHEN capture.status = '{CaptureStatus.SUCCEEDED}' THEN capture.amount ELSE 0 END AS captured,
        ours.actor, ours.data
), sums AS (
    SELECT transaction_id, sum(amount)::bigint AS amount, sum(captured)::bigint AS captured,
        bool_or(final) AS was_closing, bool_or(final AND captured > 0) AS is_last, min(actor) AS actor
    FROM settled GROUP BY transaction_id
), locked AS MATERIALIZED (
    SELECT held.transaction_id, held.amount_left
    FROM payments_transaction AS payment JOIN payments_authorization AS held ON held.transaction_id = payment.id
    WHERE payment.id = ANY (ARRAY(SELECT transaction_id FROM sums))
        AND held.transaction_id = ANY (ARRAY(SELECT transaction_id FROM sums))
    ORDER BY payment.id FOR UPDATE
), change AS MATERIALIZED (
    SELECT sums.*, sums.is_last OR sums.captured = locked.amount_left AS closes
    FROM sums JOIN locked ON locked.transaction_id = sums.transaction_id
), closed AS (
    DELETE FROM payments_authorization AS held USING change
    WHERE held.transaction_id = ANY (ARRAY(SELECT transaction_id FROM change))
        AND held.transaction_id = change.transaction_id AND change.closes
), kept AS (
    UPDATE payments_authorization AS held
    SET amount_left = held.amount_left - change.captured, amount_reserved = held.amount_reserved - change.amount,
        closing_id = CASE WHEN change.was_closing THEN NULL ELSE held.closing_id END
    FROM change
    WHERE held.transaction_id = ANY (ARRAY(SELECT transaction_id FROM change))
        AND held.transaction_id = change.transaction_id AND NOT change.closes
), paid AS (
    UPDATE payments_transaction AS payment
    SET manually_captured = payment.manually_captured + change.captured,
        fee = {fee_sql("(payment.manually_captured + change.captured)", "payment.fee_basis_points")},
        status = CASE WHEN change.closes THEN '{ChargeStatus.SUCCEEDED}' ELSE payment.status END,
        settled_at = CASE WHEN change.closes THEN now() END
    FROM change
    WHERE payment.id = ANY (ARRAY(SELECT transaction_id FROM change))
        AND payment.id = change.transaction_id AND change.captured > 0
    RETURNING payment.id, payment.currency, payment.fee_basis_points, payment.status, payment.settled_at,
        payment.manually_captured - change.captured AS captured_before, change.actor
), event AS (
    INSERT INTO payments_event (transaction_id, capture_id, kind, at, actor, writer_id, data)
    SELECT transaction_id, id, '{CAPTURE.event_prefix}' || status, clock_timestamp(), actor, %(writer)s::bigint, data
    FROM settled
    UNION ALL
    SELECT id, NULL, status, clock_timestamp(), actor, %(writer)s::bigint, NULL
    FROM paid WHERE status = '{ChargeStatus.SUCCEEDED}'
    RETURNING id, transaction_id, capture_id
), part AS (
    SELECT settled.id, settled.transaction_id, settled.amount, paid.currency, paid.fee_basis_points,
        paid.captured_before + sum(settled.amount) OVER (
            PARTITION BY settled.transaction_id ORDER BY settled.id) AS captured_after
    FROM settled JOIN paid ON paid.id = settled.transaction_id
    WHERE settled.captured > 0
), sale AS (
    SELECT part.*, ({fee_sql("captured_after::bigint", "fee_basis_points")})
        - ({fee_sql("(captured_after - amount)::bigint", "fee_basis_points")}) AS fee
    FROM part
), legs AS (
    INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
    SELECT event.id, sale.transaction_id, leg.account, sale.currency, leg.amount
    FROM sale JOIN event ON event.capture_id = sale.id
    CROSS JOIN LATERAL (VALUES {legs_sql(CAPTURE.success, amount="sale.amount", fee="sale.fee")}
        ) AS leg(account, amount)
    WHERE leg.amount <> 0
), counted AS (
    SELECT settled.id, '{CAPTURE.event_prefix}' || settled.status AS status, payment.currency,
        settled.captured AS amount
    FROM settled JOIN payments_transaction AS payment ON payment.id = settled.transaction_id
    WHERE payment.id = ANY (ARRAY(SELECT transaction_id FROM settled))
    UNION ALL
    SELECT id, status, currency, 0 FROM paid WHERE status = '{ChargeStatus.SUCCEEDED}'
)
{select_result(Part.CAPTURED, rows="input", stored="counted")}
"""

# A payment whose rest is released has succeeded if a part of it was captured.
SETTLE_VOIDS = f"""
{take_answers(Part.VOIDED)}, settled AS (
    UPDATE payments_void AS void
    SET status = ours.status, failure_code = ours.failure_code, gateway_reference = ours.gateway_reference,
        settled_at = now()
    FROM ours
    WHERE void.id = ANY (ARRAY(SELECT id FROM ours)) AND void.id = ours.id AND void.status IN {sql_list(VOID.open)}
    RETURNING void.id, void.transaction_id, void.status, void.settled_at, ours.actor, ours.data
), locked AS MATERIALIZED (
    SELECT payment.id, settled.status, settled.actor
    FROM payments_transaction AS payment
    JOIN payments_authorization AS held ON held.transaction_id = payment.id
    JOIN settled ON settled.transaction_id = payment.id
    WHERE payment.id = ANY (ARRAY(SELECT transaction_id FROM settled))
        AND held.transaction_id = ANY (ARRAY(SELECT transaction_id FROM settled))
    ORDER BY payment.id FOR UPDATE OF payment, held
), released AS (
    DELETE FROM payments_authorization AS held USING locked
    WHERE held.transaction_id = ANY (ARRAY(SELECT id FROM locked))
        AND held.transaction_id = locked.id AND locked.status = '{VoidStatus.SUCCEEDED}'
), kept AS (
    UPDATE payments_authorization AS held SET closing_id = NULL
    FROM locked
    WHERE held.transaction_id = ANY (ARRAY(SELECT id FROM locked))
        AND held.transaction_id = locked.id AND locked.status <> '{VoidStatus.SUCCEEDED}'
), closed AS (
    UPDATE payments_transaction AS payment
    SET status = CASE WHEN payment.manually_captured > 0
            THEN '{ChargeStatus.SUCCEEDED}' ELSE '{ChargeStatus.VOIDED}' END,
        settled_at = now()
    FROM locked
    WHERE payment.id = ANY (ARRAY(SELECT id FROM locked))
        AND payment.id = locked.id AND locked.status = '{VoidStatus.SUCCEEDED}'
    RETURNING payment.id, payment.status, payment.currency, payment.settled_at, locked.actor
), event AS (
    INSERT INTO payments_event (transaction_id, void_id, kind, at, actor, writer_id, data)
    SELECT transaction_id, id, '{VOID.event_prefix}' || status, clock_timestamp(), actor, %(writer)s::bigint, data
    FROM settled
    UNION ALL
    SELECT id, NULL, status, clock_timestamp(), actor, %(writer)s::bigint, NULL FROM closed
), counted AS (
    SELECT settled.id, '{VOID.event_prefix}' || settled.status AS status, payment.currency, 0 AS amount
    FROM settled JOIN payments_transaction AS payment ON payment.id = settled.transaction_id
    WHERE payment.id = ANY (ARRAY(SELECT transaction_id FROM settled))
    UNION ALL
    SELECT id, status, currency, 0 FROM closed
)
{select_result(Part.VOIDED, rows="input", stored="counted")}
"""

STATEMENTS = {
    (Part.AUTHORIZED,): SETTLE_AUTHORIZATIONS,
    (Part.CAPTURED,): SETTLE_CAPTURES,
    (Part.VOIDED,): SETTLE_VOIDS,
}
