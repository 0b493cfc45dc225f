"""Check that every row agrees with the other rows: `manage.py audit_ledger`, and the end of most of our tests.

The database refuses most faults already; the audit does not rely on it. Each check is one statement over one snapshot,
so it holds at any moment, also during payments.
"""
# ruff: noqa: S608 - the SQL is made of our own constants

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from fintech.database.connections import open_connection
from payments.ledger.postings import ACCOUNTS, balances_sql, fee_sql
from payments.states import CHARGE, REFUND, ChargeStatus, RefundStatus, sql_list

# What a report names one by one; there may be more.
MAX_FINDINGS = 1000


@dataclass(frozen=True)
class Finding:
    """Something that must not be: which check found it, on which payment, refund or key, and what it is."""

    check: str
    resource: str
    detail: str


POSTED = ", ".join(f"posted.{account}" for account in ACCOUNTS)
SUMS = ", ".join(
    f"coalesce(sum(leg.amount) FILTER (WHERE leg.account = '{account}'), 0) AS {account}" for account in ACCOUNTS
)

# Name -> what is wrong, as (resource, detail).
CHECKS = {
    "legs_sum_to_zero": """
        SELECT leg.transaction_id, format('event %%s is off by %%s %%s', leg.event_id, sum(leg.amount), leg.currency)
        FROM payments_ledgerleg AS leg JOIN payment ON payment.id = leg.transaction_id
        GROUP BY leg.transaction_id, leg.event_id, leg.currency HAVING sum(leg.amount) <> 0
    """,
    "legs_follow_from_a_success": f"""
        SELECT leg.transaction_id, format('leg %%s belongs to event %%s (%%s)', leg.id, leg.event_id, event.kind)
        FROM payments_ledgerleg AS leg
        JOIN payment ON payment.id = leg.transaction_id
        LEFT JOIN payments_event AS event ON event.id = leg.event_id
        WHERE event.kind IS NULL OR event.transaction_id <> leg.transaction_id
            OR event.kind <> CASE WHEN event.refund_id IS NULL THEN '{CHARGE.success}' ELSE '{REFUND.success}' END
            OR NOT EXISTS (SELECT 1 FROM refund WHERE refund.id = event.refund_id) AND event.refund_id IS NOT NULL
    """,
    "payments_are_posted_once": f"""
        SELECT payment.id, format('%%s, %%s %%s, fee %%s; posted: %%s', payment.status, payment.amount,
            payment.currency, payment.fee, to_jsonb(posted))
        FROM payment LEFT JOIN posted ON posted.transaction_id = payment.id AND posted.refund_id IS NULL
        WHERE CASE WHEN payment.status = '{ChargeStatus.SUCCEEDED}'
            THEN (posted.events, posted.same_currency, {POSTED}) IS DISTINCT FROM
                (1::bigint, true, {balances_sql(CHARGE.success, amount="payment.amount", fee="payment.fee")})
            ELSE posted.transaction_id IS NOT NULL OR payment.fee <> 0 END
    """,
    "fees_follow_from_the_rate": f"""
        SELECT payment.id, format('%%s %%s at %%s basis points, but a fee of %%s', payment.amount, payment.currency,
            payment.fee_basis_points, payment.fee)
        FROM payment
        WHERE payment.fee <> CASE WHEN payment.status = '{ChargeStatus.SUCCEEDED}'
            THEN {fee_sql("payment.amount", "payment.fee_basis_points")} ELSE 0 END
    """,
    "refunds_are_posted_once": f"""
        SELECT refund.id, format('%%s, %%s; posted: %%s', refund.status, refund.amount, to_jsonb(posted))
        FROM refund LEFT JOIN posted ON posted.refund_id = refund.id
        WHERE CASE WHEN refund.status = '{RefundStatus.SUCCEEDED}'
            THEN (posted.transaction_id, posted.events, posted.same_currency, {POSTED})
                IS DISTINCT FROM (refund.transaction_id, 1::bigint, true,
                {balances_sql(REFUND.success, amount="refund.amount", fee="0")})
            ELSE posted.transaction_id IS NOT NULL END
    """,
    "refunds_add_up": f"""
        SELECT payment.id, format('reserved %%s, refunded %%s; its refunds say %%s and %%s', payment.amount_reserved,
            payment.amount_refunded, coalesce(sums.reserved, 0), coalesce(sums.refunded, 0))
        FROM payment LEFT JOIN (
            SELECT transaction_id, sum(amount) FILTER (WHERE status <> '{RefundStatus.FAILED}') AS reserved,
                sum(amount) FILTER (WHERE status = '{RefundStatus.SUCCEEDED}') AS refunded
            FROM refund GROUP BY transaction_id
        ) AS sums ON sums.transaction_id = payment.id
        WHERE (payment.amount_reserved, payment.amount_refunded)
            IS DISTINCT FROM (coalesce(sums.reserved, 0), coalesce(sums.refunded, 0))
    """,
    "what_is_open_is_unresolved": f"""
        SELECT resource.id, format('%%s, and %%s unresolved', resource.status,
            CASE WHEN work.resource_id IS NULL THEN 'not' ELSE 'still' END)
        FROM (SELECT id, id AS transaction_id, NULL::uuid AS refund_id, status FROM payment
            UNION ALL SELECT id, transaction_id, id, status FROM refund) AS resource
        LEFT JOIN payments_unresolved AS work ON work.resource_id = resource.id
            AND work.transaction_id = resource.transaction_id AND work.refund_id IS NOT DISTINCT FROM resource.refund_id
        WHERE (resource.status IN {sql_list(CHARGE.open)}) <> (work.resource_id IS NOT NULL)
    """,
    "status_is_the_last_event": f"""
        SELECT resource.id, format('%%s, but its journal: %%s', resource.status, history.kinds)
        FROM (SELECT id, NULL::uuid AS refund_id, id AS transaction_id, status::text FROM payment
            UNION ALL SELECT id, id, transaction_id, '{REFUND.event_prefix}' || status FROM refund) AS resource
        LEFT JOIN (
            SELECT event.transaction_id, event.refund_id, array_agg(event.kind::text ORDER BY event.id) AS kinds,
                count(*) FILTER (WHERE event.kind NOT LIKE '%%processing' AND event.kind NOT LIKE '%%unknown') AS finals
            FROM payments_event AS event JOIN payment ON payment.id = event.transaction_id
            WHERE event.kind <> 'resolution_requested'
            GROUP BY event.transaction_id, event.refund_id
        ) AS history ON history.transaction_id = resource.transaction_id
            AND history.refund_id IS NOT DISTINCT FROM resource.refund_id
        WHERE history.kinds IS NULL OR history.finals > 1
            OR history.kinds[cardinality(history.kinds)] <> resource.status
            OR cardinality(history.kinds) <> (SELECT count(DISTINCT kind) FROM unnest(history.kinds) AS kind)
    """,
    "keys_are_one_to_one": """
        SELECT resource.id, format('key %%s of merchant %%s belongs to %%s', resource.key, resource.merchant_id,
            coalesce(taken.resource_id::text, 'nothing'))
        FROM (SELECT id, merchant_id, idempotency_key AS key, 'payment' AS kind FROM payment
            UNION ALL SELECT refund.id, payment.merchant_id, refund.idempotency_key, 'refund'
            FROM refund JOIN payment ON payment.id = refund.transaction_id) AS resource
        LEFT JOIN payments_idempotencykey AS taken ON (taken.merchant_id, taken.key, taken.kind)
            = (resource.merchant_id, resource.key, resource.kind)
        WHERE taken.resource_id IS DISTINCT FROM resource.id
    """,
    "keys_belong_to_something": """
        SELECT taken.resource_id, format('key %%s of merchant %%s has no %%s', taken.key, taken.merchant_id, taken.kind)
        FROM payments_idempotencykey AS taken
        WHERE (%(merchants)s::bigint[] IS NULL OR taken.merchant_id = ANY(%(merchants)s))
            AND NOT EXISTS (SELECT 1 FROM payments_transaction AS found
                WHERE taken.kind = 'payment' AND found.id = taken.resource_id)
            AND NOT EXISTS (SELECT 1 FROM payments_refund AS found
                WHERE taken.kind = 'refund' AND found.id = taken.resource_id)
    """,
    "final_payments_are_counted": f"""
        SELECT payment.id, format('event %%s (%%s) is in no counter', event.id, event.kind)
        FROM payments_event AS event JOIN payment ON payment.id = event.transaction_id
        LEFT JOIN payments_writer AS writer ON writer.id = event.writer_id
        WHERE event.kind IN {sql_list([*CHARGE.final, ChargeStatus.UNKNOWN])} AND writer.id IS NULL
    """,
}

# Over all merchants only: the KPIs know none.
TOTALS_CHECK = f"""
    SELECT coalesce(rows.status, kpi.status), format('%%s payments, but the KPIs count %%s', rows.count, kpi.count)
    FROM (SELECT status::text, count(*) AS count FROM payments_transaction
        WHERE status IN {sql_list(CHARGE.final)} GROUP BY status) AS rows
    FULL JOIN (SELECT kind::text AS status, sum(count)::bigint AS count FROM payments_kpi_totals
        WHERE kind IN {sql_list(CHARGE.final)} GROUP BY kind) AS kpi USING (status)
    WHERE rows.count IS DISTINCT FROM kpi.count
"""

# The payments that are looked at, their refunds, and all that was posted for either (a payment's own: no refund_id).
_SCOPE = f"""
WITH payment AS MATERIALIZED (
    SELECT * FROM payments_transaction
    WHERE %(merchants)s::bigint[] IS NULL OR merchant_id = ANY(%(merchants)s)
), refund AS MATERIALIZED (
    SELECT refund.* FROM payments_refund AS refund JOIN payment ON payment.id = refund.transaction_id
), posted AS (
    SELECT leg.transaction_id, event.refund_id, count(DISTINCT event.id) AS events,
        bool_and(leg.currency = payment.currency) AS same_currency,
        {SUMS}
    FROM payments_ledgerleg AS leg
    JOIN payments_event AS event ON event.id = leg.event_id
    JOIN payment ON payment.id = leg.transaction_id
    GROUP BY leg.transaction_id, event.refund_id
)
"""


def audit_ledger(merchants: Sequence[int] | None = None) -> Iterator[tuple[str, list[Finding]]]:
    """Each check's name, as it is done, and what it found; of these merchants, or of all."""
    parameters = {"merchants": list(merchants) if merchants is not None else None}
    statements = {name: f"{_SCOPE} {check} LIMIT {MAX_FINDINGS}" for name, check in CHECKS.items()}
    if merchants is None:
        statements["kpis_count_every_payment"] = f"{TOTALS_CHECK} LIMIT {MAX_FINDINGS}"
    with closing(open_connection("audit_ledger")) as connection:
        connection.execute("SET statement_timeout = 0")
        for name, statement in statements.items():
            rows = connection.execute(statement, parameters).fetchall()
            yield name, [Finding(name, str(resource), detail) for resource, detail in rows]
