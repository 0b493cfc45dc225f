"""The statements that store and settle payments, set-based: JSON arrays in, one row per array out.

The same statements serve one payment, a batch, and all payments that a process has in hand at one moment
(`payments/storage/group_commit.py`). Rows are joined on the transaction's id, never on the key: two items of one
batch may carry the same key, and one of them wins.

Each array is a `Part`. Its row has the part's name, the time, the ids whose rows were not stored, the totals of the
stored rows (status, currency, number and amount), and the velocity rules that they exceeded. Many rows so cost hardly
more to read than one.
"""

from enum import StrEnum
from itertools import combinations

from payments.ledger.postings import fee_sql, legs_sql
from payments.states import CHARGE, ChargeStatus, sql_list
from payments.storage.velocity_sql import DECIDE


class Part(StrEnum):
    """The kinds of rows, by the names of their parameters."""

    CREATED = "created"  # new payments: T1
    WATCHED = "watched"  # the same, of merchants with velocity rules
    SETTLED = "settled"  # answers of the gateway: T2
    UNKNOWN = "unknown"  # calls that the gateway did not answer
    AUTHORIZED = "authorized"  # answers to authorizations: payments/storage/authorization_sql.py
    CAPTURED = "captured"  # answers to captures
    VOIDED = "voided"  # answers to voids
    CHALLENGED = "challenged"  # payments that wait for their customer: payments/storage/challenge_sql.py
    AUTHENTICATED = "authenticated"  # outcomes of payments that the customer was to authenticate


# An acknowledged payment must survive a crash of the server, whatever the session was left with by a pooler's other
# clients. Settings that wait for replicas stay.
_DURABLE = """CASE WHEN current_setting('synchronous_commit') <> 'off' THEN 'as it is'
    ELSE set_config('synchronous_commit', 'on', true) END IS NOT NULL"""


def select_result(part: Part, *, rows: str, stored: str, exceeded: str = "NULL::jsonb") -> str:
    return f"""SELECT '{part}' AS part, now() AS at,
    ARRAY(SELECT id FROM {rows} EXCEPT SELECT id FROM {stored}) AS missing,
    (SELECT jsonb_agg(jsonb_build_array(status, currency, number, total)) FROM (
        SELECT status, currency, count(*) AS number, sum(amount) AS total FROM {stored} GROUP BY status, currency
    ) AS totals) AS totals,
    {exceeded} AS exceeded
    WHERE {_DURABLE}"""  # noqa: S608 - our own constants


# Take the idempotency key and store the payment, or nothing. An id that is missing from the answer lost its
# key to an earlier request. Keys are inserted in order, so that two groups that share keys
# wait for each other instead of deadlocking. The lease runs on the database's clock.
def _take_keys(part: Part, more_columns: str = "") -> str:
    return f"""{part} AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%({part})s::json) AS item(
        id uuid, merchant_id bigint, key text, amount bigint, currency text, status text,
        fraud_score float8, fraud_reasons jsonb, failure_code text,
        customer text, reference text, description text, payment_method jsonb, metadata jsonb,
        request_id text, return_url text, fee_basis_points smallint, gateway text, gateway_key uuid,
        manual_capture boolean, review text,
        lease_token uuid, lease_seconds float8{more_columns})
), {part}_won AS (
    INSERT INTO payments_idempotencykey (merchant_id, key, resource_id, kind)
    SELECT merchant_id, key, id, 'payment' FROM {part} ORDER BY merchant_id, key, id
    ON CONFLICT (merchant_id, key) DO NOTHING
    RETURNING resource_id
)"""  # noqa: S608 - our own constants


def _store(part: Part, rows: str, event_data: str) -> str:
    """Return the CTEs that store the payments of `rows` whose keys are won."""
    return f"""{part}_stored AS (
    INSERT INTO payments_transaction (
        id, merchant_id, idempotency_key, amount, currency, status, fraud_score, fraud_reasons, failure_code,
        customer, reference, description, payment_method, metadata, request_id, return_url,
        fee_basis_points, gateway, gateway_key, manual_capture, review, created_at, settled_at)
    SELECT id, merchant_id, key, amount, currency, status, fraud_score, fraud_reasons, failure_code,
        customer, reference, description, payment_method, metadata, request_id, return_url,
        fee_basis_points, gateway, gateway_key, coalesce(manual_capture, false), review, now(),
        CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN now() END
    FROM {rows} AS item JOIN {part}_won ON {part}_won.resource_id = item.id
    RETURNING id, status, currency, amount
), {part}_event AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, writer_id, data)
    SELECT id, status, clock_timestamp(), 'api',
        CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN %(writer)s::bigint END, {event_data}
    FROM {rows} AS item JOIN {part}_won ON {part}_won.resource_id = item.id
), {part}_lease AS (
    INSERT INTO payments_unresolved (resource_id, transaction_id, lease_token, lease_until, created_at)
    SELECT id, id, lease_token, clock_timestamp() + make_interval(secs => lease_seconds), clock_timestamp()
    FROM {rows} AS item JOIN {part}_won ON {part}_won.resource_id = item.id
    WHERE status = '{ChargeStatus.PROCESSING}'
)"""  # noqa: S608 - our own constants


_REASONS = f"CASE WHEN status = '{ChargeStatus.BLOCKED}' THEN jsonb_build_object('reasons', fraud_reasons) END"
_CREATE = f"{_take_keys(Part.CREATED)}, {_store(Part.CREATED, 'created', _REASONS)}"

# The same with counters. `decided` has the columns for each outcome of the rules (`payments/fraud/velocity.py`).
_JUDGED = """judged AS MATERIALIZED (
    SELECT watched.id, merchant_id, key, amount, currency, fraud_score, customer, reference, description,
        payment_method, metadata, request_id, return_url, fee_basis_points, gateway, gateway_key, lease_token,
        lease_seconds, fraud_reasons || coalesce(verdict.reasons, '[]') AS fraud_reasons, verdict.evidence, chosen.*
    FROM watched LEFT JOIN verdict ON verdict.id = watched.id
    CROSS JOIN LATERAL jsonb_to_record(decided -> coalesce(verdict.outcome, 'none'))
        AS chosen(status text, failure_code text, manual_capture boolean, review text)
)"""
_EVIDENCE = (
    f"CASE WHEN evidence IS NULL THEN {_REASONS}"
    " ELSE jsonb_build_object('reasons', fraud_reasons, 'velocity', evidence) END"
)
_WATCH = ", ".join(
    [
        _take_keys(Part.WATCHED, ", velocity jsonb, decided jsonb"),
        DECIDE,
        _JUDGED,
        _store(Part.WATCHED, "judged", _EVIDENCE),
    ]
)

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

_EXCEEDED = "(SELECT jsonb_agg(jsonb_build_array(id, reasons, outcome)) FROM verdict)"
_CREATED = select_result(Part.CREATED, rows="created", stored="created_stored")
_WATCHED = select_result(Part.WATCHED, rows="watched", stored="watched_stored", exceeded=_EXCEEDED)
_SETTLED = select_result(Part.SETTLED, rows="answered", stored="settled")
_MARKED = select_result(Part.UNKNOWN, rows="unanswered", stored="marked")
_STEPS = {Part.CREATED: (_CREATE, _CREATED), Part.WATCHED: (_WATCH, _WATCHED), Part.SETTLED: (_SETTLE, _SETTLED)}


def _combine(parts: tuple[Part, ...]) -> str:
    """Return a statement of several parts, in one commit.

    None of the outcomes can be of one of the new payments: a payment is charged after its own commit.
    """
    expressions, results = zip(*(_STEPS[part] for part in parts), strict=True)
    return f"WITH {', '.join(expressions)} {' UNION ALL '.join(results)}"


CREATE_PAYMENTS, SETTLE_PAYMENTS = _combine((Part.CREATED,)), _combine((Part.SETTLED,))
MARK_UNKNOWN = f"WITH {_MARK} {_MARKED}"
STATEMENTS = {parts: _combine(parts) for number in (1, 2, 3) for parts in combinations(_STEPS, number)} | {
    (Part.UNKNOWN,): MARK_UNKNOWN
}
