"""The statements that store and settle payments, set-based: a JSON array in, rows out.

The same statements serve one payment, a batch, and all payments that a process has in hand at one moment
(`payments/settlement/group_commit.py`). Rows are joined on the transaction's id, never on the key: two items of one
batch may carry the same key, and one of them wins. Each statement returns what it stored: id, time, status, currency
and amount.
"""

from payments.ledger.postings import fee_sql, legs_sql
from payments.states import CHARGE, ChargeStatus, sql_list

# Take the idempotency key and store the payment, or nothing. An id that is missing from the answer lost its
# key to an earlier request. Keys are inserted in order, so that two groups that share keys
# wait for each other instead of deadlocking. The lease runs on the database's clock.
CREATE_PAYMENTS = f"""
WITH input AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS item(
        id uuid, merchant_id bigint, key text, amount bigint, currency text, status text,
        fraud_score float8, fraud_reasons jsonb, failure_code text,
        customer text, reference text, description text, payment_method jsonb, metadata jsonb,
        request_id text, fee_basis_points smallint, gateway text, gateway_key uuid,
        lease_token uuid, lease_seconds float8, writer_id bigint)
), won AS (
    INSERT INTO payments_idempotencykey (merchant_id, key, resource_id, kind)
    SELECT merchant_id, key, id, 'payment' FROM input ORDER BY merchant_id, key, id
    ON CONFLICT (merchant_id, key) DO NOTHING
    RETURNING resource_id
), stored AS (
    INSERT INTO payments_transaction (
        id, merchant_id, idempotency_key, amount, currency, status, fraud_score, fraud_reasons, failure_code,
        customer, reference, description, payment_method, metadata, request_id,
        fee_basis_points, gateway, gateway_key, created_at, settled_at)
    SELECT id, merchant_id, key, amount, currency, status, fraud_score, fraud_reasons, failure_code,
        customer, reference, description, payment_method, metadata, request_id,
        fee_basis_points, gateway, gateway_key, now(),
        CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN now() END
    FROM input JOIN won ON won.resource_id = input.id
    RETURNING id, created_at, status, currency, amount
), event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT id, status, clock_timestamp(), 'api', CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN writer_id END,
        CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN json_build_object('reasons', fraud_reasons) END
    FROM input JOIN won ON won.resource_id = input.id
), lease AS (
    INSERT INTO payments_unresolved (resource_id, transaction_id, lease_token, lease_until, created_at)
    SELECT id, id, lease_token, clock_timestamp() + make_interval(secs => lease_seconds), clock_timestamp()
    FROM input JOIN won ON won.resource_id = input.id
    WHERE status = '{ChargeStatus.PROCESSING}'
)
SELECT id, created_at, status, currency, amount FROM stored
"""  # noqa: S608 - our own constants

# Settle payments whose lease is still ours: final status, event, ledger legs, and no longer unresolved.
# An id that is missing from the answer was settled by another process, whose result counts. Only the input whose token
# matched continues: two threads may bring the same payment, one of them with a lease that it lost.
SETTLE_PAYMENTS = f"""
WITH input AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS item(
        id uuid, lease_token uuid, status text, failure_code text, gateway_reference text,
        actor text, writer_id bigint, data jsonb)
), ours AS (
    DELETE FROM payments_unresolved AS work USING input
    WHERE work.resource_id = ANY (ARRAY(SELECT id FROM input))
        AND work.resource_id = input.id AND work.lease_token = input.lease_token
    RETURNING input.*
), settled AS (
    UPDATE payments_transaction AS payment
    SET status = ours.status, failure_code = ours.failure_code,
        fee = CASE WHEN ours.status = '{ChargeStatus.SUCCEEDED}'
            THEN {fee_sql("payment.amount", "payment.fee_basis_points")} ELSE 0 END,
        gateway_reference = ours.gateway_reference, settled_at = now()
    FROM ours
    WHERE payment.id = ANY (ARRAY(SELECT id FROM ours)) AND payment.id = ours.id
        AND payment.status IN {sql_list(CHARGE.open)}
    RETURNING payment.id, payment.amount, payment.currency, payment.status, payment.fee, payment.settled_at
), event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT ours.id, ours.status, clock_timestamp(), ours.actor, ours.writer_id, ours.data
    FROM ours JOIN settled ON settled.id = ours.id
    RETURNING id, transaction_id
), legs AS (
    INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
    SELECT event.id, settled.id, leg.account, settled.currency, leg.amount
    FROM settled JOIN event ON event.transaction_id = settled.id
    CROSS JOIN LATERAL (VALUES {legs_sql(CHARGE.success, amount="settled.amount", fee="settled.fee")}
        ) AS leg(account, amount)
    WHERE settled.status = '{ChargeStatus.SUCCEEDED}' AND leg.amount <> 0
)
SELECT id, settled_at, status, currency, amount FROM settled
"""  # noqa: S608 - our own constants

# The gateway did not answer: mark the payment, and release its lease to the resolver at once.
MARK_UNKNOWN = f"""
WITH input AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS item(
        id uuid, lease_token uuid, status text, actor text, writer_id bigint, data jsonb)
), released AS (
    UPDATE payments_unresolved AS work SET lease_token = NULL, lease_until = now()
    FROM input
    WHERE work.resource_id = ANY (ARRAY(SELECT id FROM input))
        AND work.resource_id = input.id AND work.lease_token = input.lease_token
    RETURNING input.*
), marked AS (
    UPDATE payments_transaction AS payment SET status = released.status
    FROM released
    WHERE payment.id = ANY (ARRAY(SELECT id FROM released)) AND payment.id = released.id
        AND payment.status = '{ChargeStatus.PROCESSING}'
    RETURNING payment.id, payment.status, payment.currency, payment.amount
), event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT released.id, released.status, clock_timestamp(), released.actor, released.writer_id, released.data
    FROM released JOIN marked ON marked.id = released.id
)
SELECT id, now(), status, currency, amount FROM marked
"""  # noqa: S608 - our own constants
