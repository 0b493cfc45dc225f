"""The statements of payments with 3-D Secure (strong customer authentication), set-based as in `payment_sql.py`.

A payment without a `return_url` never reaches them. A challenge is not an unknown outcome, so it has a row of its own
and no lease: the first to bring the decision settles it, and the row's lock lets only one do so.
"""
# ruff: noqa: S608 - the SQL is made of our own constants

from payments.ledger.postings import fee_sql, legs_sql
from payments.states import AUTHENTICATION_PREFIX, CHARGE, HOLDING, ChargeStatus, sql_list
from payments.storage.authorization_sql import set_decision, take_answers
from payments.storage.payment_sql import Part, select_result

# The gateway asks for a challenge: the lease ends, and the worker asks for the customer's answer from time to time.
CHALLENGE = f"""
{take_answers(Part.CHALLENGED, " url text, expires_at timestamptz, poll_seconds float8,")}, marked AS (
    UPDATE payments_transaction AS payment SET status = ours.status, gateway_reference = ours.gateway_reference
    FROM ours
    WHERE payment.id = ANY (ARRAY(SELECT id FROM ours)) AND payment.id = ours.id
        AND payment.status = '{ChargeStatus.PROCESSING}'
    RETURNING payment.id, payment.status, payment.currency, payment.amount, payment.gateway_key
), event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT ours.id, ours.status, clock_timestamp(), ours.actor, %(writer)s::bigint, ours.data
    FROM ours JOIN marked ON marked.id = ours.id
), challenge AS (
    INSERT INTO payments_authentication (transaction_id, gateway_key, url, expires_at, due_at)
    SELECT ours.id, marked.gateway_key, ours.url, ours.expires_at,
        least(now() + make_interval(secs => ours.poll_seconds), ours.expires_at)
    FROM ours JOIN marked ON marked.id = ours.id
)
{select_result(Part.CHALLENGED, rows="input", stored="marked")}
"""

# The outcome of a payment that has a result of its authentication: after a challenge, whose row has no result yet, or
# at once, with a lease. One event for the result, and one for the payment. `decided_at` is set with the outcome; by
# `outcome IS NULL` the planner would read the partial index of all open challenges.
SETTLE_AUTHENTICATED = f"""
{take_answers(Part.AUTHENTICATED, " outcome text, liability_shift text, hold_seconds float8,")}, decided AS (
    UPDATE payments_authentication AS challenge
    SET outcome = input.outcome, liability_shift = input.liability_shift, decided_at = now(), due_at = NULL
    FROM input
    WHERE challenge.transaction_id = ANY (ARRAY(SELECT id FROM input))
        AND challenge.transaction_id = input.id AND challenge.decided_at IS NULL
    RETURNING input.*
), answered AS (
    SELECT * FROM ours UNION ALL SELECT * FROM decided
), settled AS (
    UPDATE payments_transaction AS payment
    SET {set_decision("answered")},
        fee = CASE WHEN answered.status = '{ChargeStatus.SUCCEEDED}'
            THEN {fee_sql("payment.amount", "payment.fee_basis_points")} ELSE 0 END
    FROM answered
    WHERE payment.id = ANY (ARRAY(SELECT id FROM answered)) AND payment.id = answered.id
        AND payment.status IN {sql_list([*CHARGE.open, ChargeStatus.REQUIRES_ACTION])}
    RETURNING payment.id, payment.amount, payment.currency, payment.status, payment.fee, payment.capture_before,
        answered.outcome, answered.actor, answered.data
), result AS (
    INSERT INTO payments_authentication (transaction_id, outcome, liability_shift, decided_at)
    SELECT ours.id, ours.outcome, ours.liability_shift, now() FROM ours JOIN settled ON settled.id = ours.id
), event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT id, '{AUTHENTICATION_PREFIX}' || outcome, clock_timestamp(), actor, %(writer)s::bigint, NULL FROM settled
    UNION ALL
    SELECT id, status, clock_timestamp(), actor, %(writer)s::bigint, data FROM settled
    RETURNING id, transaction_id, kind
), legs AS (
    INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
    SELECT event.id, settled.id, leg.account, settled.currency, leg.amount
    FROM settled JOIN event ON event.transaction_id = settled.id AND event.kind = settled.status
    CROSS JOIN LATERAL (VALUES {legs_sql(CHARGE.success, amount="settled.amount", fee="settled.fee")}
        ) AS leg(account, amount)
    WHERE settled.status = '{ChargeStatus.SUCCEEDED}' AND leg.amount <> 0
), held AS (
    INSERT INTO payments_authorization (transaction_id, currency, amount_left, capture_before)
    SELECT id, currency, amount, capture_before FROM settled WHERE status IN {sql_list(HOLDING)}
), counted AS (
    SELECT id, status, currency, amount FROM settled
    UNION ALL
    SELECT id, '{AUTHENTICATION_PREFIX}' || outcome, currency, 0 FROM settled
)
{select_result(Part.AUTHENTICATED, rows="input", stored="counted")}
"""

STATEMENTS = {(Part.CHALLENGED,): CHALLENGE, (Part.AUTHENTICATED,): SETTLE_AUTHENTICATED}
