"""The statements that store and settle payments, set-based: JSON arrays in, one row per array out.

The same statements serve one payment, a batch, and all payments that a process has in hand at one moment
(`payments/settlement/group_commit.py`). Rows are joined on the transaction's id, never on the key: two items of one
batch may carry the same key, and one of them wins.

Each array is a `Part`. Its row has the part's name, the time, the ids whose rows were not stored, and the totals of the
stored rows: status, currency, number and amount. Many rows so cost hardly more to read than one.
"""

from enum import StrEnum

from payments.ledger.postings import fee_sql, legs_sql
from payments.states import CHARGE, ChargeStatus, sql_list


class Part(StrEnum):
    """The kinds of rows, by the names of their parameters."""

    CREATED = "created"  # new payments: T1
    SETTLED = "settled"  # answers of the gateway: T2
    UNKNOWN = "unknown"  # calls that the gateway did not answer
    AUTHORIZED = "authorized"  # answers to authorizations: payments/settlement/authorization_statements.py
    CAPTURED = "captured"  # answers to captures
    VOIDED = "voided"  # answers to voids


# An acknowledged payment must survive a crash of the server, whatever the session was left with by a pooler's other
# clients. Settings that wait for replicas stay.
_DURABLE = """CASE WHEN current_setting('synchronous_commit') <> 'off' THEN 'as it is'
    ELSE set_config('synchronous_commit', 'on', true) END IS NOT NULL"""


def select_result(part: Part, *, rows: str, stored: str) -> str:
    return f"""SELECT '{part}' AS part, now() AS at,
    ARRAY(SELECT id FROM {rows} EXCEPT SELECT id FROM {stored}) AS missing,
    (SELECT jsonb_agg(jsonb_build_array(status, currency, number, total)) FROM (
        SELECT status, currency, count(*) AS number, sum(amount) AS total FROM {stored} GROUP BY status, currency
    ) AS totals) AS totals
    WHERE {_DURABLE}"""  # noqa: S608 - our own constants


# Take the idempotency key and store the payment, or nothing. An id that is missing from the answer lost its
# key to an earlier request. Keys are inserted in order, so that two groups that share keys
# wait for each other instead of deadlocking. The lease runs on the database's clock.
_CREATE = f"""created AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(created)s::json) AS item(
        id uuid, merchant_id bigint, key text, amount bigint, currency text, status text,
        fraud_score float8, fraud_reasons jsonb, failure_code text,
        customer text, reference text, description text, payment_method jsonb, metadata jsonb,
        request_id text, fee_basis_points smallint, gateway text, gateway_key uuid, manual_capture boolean,
        lease_token uuid, lease_seconds float8)
), won AS (
    INSERT INTO payments_idempotencykey (merchant_id, key, resource_id, kind)
    SELECT merchant_id, key, id, 'payment' FROM created ORDER BY merchant_id, key, id
    ON CONFLICT (merchant_id, key) DO NOTHING
    RETURNING resource_id
), stored AS (
    INSERT INTO payments_transaction (
        id, merchant_id, idempotency_key, amount, currency, status, fraud_score, fraud_reasons, failure_code,
        customer, reference, description, payment_method, metadata, request_id,
        fee_basis_points, gateway, gateway_key, manual_capture, created_at, settled_at)
    SELECT id, merchant_id, key, amount, currency, status, fraud_score, fraud_reasons, failure_code,
        customer, reference, description, payment_method, metadata, request_id,
        fee_basis_points, gateway, gateway_key, coalesce(manual_capture, false), now(),
        CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN now() END
    FROM created JOIN won ON won.resource_id = created.id
    RETURNING id, status, currency, amount
), creation_event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT id, status, clock_timestamp(), 'api',
        CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN %(writer)s::bigint END,
        CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN json_build_object('reasons', fraud_reasons) END
    FROM created JOIN won ON won.resource_id = created.id
), lease AS (
    INSERT INTO payments_unresolved (resource_id, transaction_id, lease_token, lease_until, created_at)
    SELECT id, id, lease_token, clock_timestamp() + make_interval(secs => lease_seconds), clock_timestamp()
    FROM created JOIN won ON won.resource_id = created.id
    WHERE status = '{ChargeStatus.PROCESSING}'
)
"""  # noqa: S608 - our own constants

# Settle payments whose lease is still ours: final status, event, ledger legs, and no longer unresolved.
# An id that is missing from the answer was settled by another process, whose result counts. Only the input whose token
# matched continues: two threads may bring the same payment, one of them with a lease that it lost.
_SETTLE = f"""answered AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(settled)s::json) AS item(
        id uuid, lease_token uuid, status text, failure_code text, gateway_reference text,
        actor text, data jsonb)
), ours AS (
    DELETE FROM payments_unresolved AS work USING answered
    WHERE work.resource_id = ANY (ARRAY(SELECT id FROM answered))
        AND work.resource_id = answered.id AND work.lease_token = answered.lease_token
    RETURNING answered.*
), settled AS (
    UPDATE payments_transaction AS payment
    SET status = ours.status, failure_code = ours.failure_code,
        fee = CASE WHEN ours.status = '{ChargeStatus.SUCCEEDED}'
            THEN {fee_sql("payment.amount", "payment.fee_basis_points")} ELSE 0 END,
        gateway_reference = ours.gateway_reference, settled_at = now()
    FROM ours
    WHERE payment.id = ANY (ARRAY(SELECT id FROM ours)) AND payment.id = ours.id
        AND payment.status IN {sql_list(CHARGE.open)}
    RETURNING payment.id, payment.amount, payment.currency, payment.status, payment.fee
), outcome_event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT ours.id, ours.status, clock_timestamp(), ours.actor, %(writer)s::bigint, ours.data
    FROM ours JOIN settled ON settled.id = ours.id
    RETURNING id, transaction_id
), legs AS (
    INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
    SELECT outcome_event.id, settled.id, leg.account, settled.currency, leg.amount
    FROM settled JOIN outcome_event ON outcome_event.transaction_id = settled.id
    CROSS JOIN LATERAL (VALUES {legs_sql(CHARGE.success, amount="settled.amount", fee="settled.fee")}
        ) AS leg(account, amount)
    WHERE settled.status = '{ChargeStatus.SUCCEEDED}' AND leg.amount <> 0
)
"""  # noqa: S608 - our own constants

# The gateway did not answer: mark the payment, and release its lease to the resolver at once.
_MARK = f"""unanswered AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(unknown)s::json) AS item(
        id uuid, lease_token uuid, status text, actor text, data jsonb)
), released AS (
    UPDATE payments_unresolved AS work SET lease_token = NULL, lease_until = now()
    FROM unanswered
    WHERE work.resource_id = ANY (ARRAY(SELECT id FROM unanswered))
        AND work.resource_id = unanswered.id AND work.lease_token = unanswered.lease_token
    RETURNING unanswered.*
), marked AS (
    UPDATE payments_transaction AS payment SET status = released.status
    FROM released
    WHERE payment.id = ANY (ARRAY(SELECT id FROM released)) AND payment.id = released.id
        AND payment.status = '{ChargeStatus.PROCESSING}'
    RETURNING payment.id, payment.status, payment.currency, payment.amount
), event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT released.id, released.status, clock_timestamp(), released.actor, %(writer)s::bigint, released.data
    FROM released JOIN marked ON marked.id = released.id
)
"""  # noqa: S608 - our own constants

_CREATED = select_result(Part.CREATED, rows="created", stored="stored")
_SETTLED = select_result(Part.SETTLED, rows="answered", stored="settled")
_MARKED = select_result(Part.UNKNOWN, rows="unanswered", stored="marked")

CREATE_PAYMENTS = f"WITH {_CREATE} {_CREATED}"
SETTLE_PAYMENTS = f"WITH {_SETTLE} {_SETTLED}"
MARK_UNKNOWN = f"WITH {_MARK} {_MARKED}"
# New payments and the outcomes of others, in one commit. None of the outcomes can be of one of these new payments: a
# payment is charged after its own commit.
CREATE_AND_SETTLE = f"WITH {_CREATE}, {_SETTLE} {_CREATED} UNION ALL {_SETTLED}"

STATEMENTS = {
    (Part.CREATED,): CREATE_PAYMENTS,
    (Part.SETTLED,): SETTLE_PAYMENTS,
    (Part.CREATED, Part.SETTLED): CREATE_AND_SETTLE,
    (Part.UNKNOWN,): MARK_UNKNOWN,
}
