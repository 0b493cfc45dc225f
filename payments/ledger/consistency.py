"""Check that every row agrees with the other rows: `manage.py audit_ledger`, and the end of most of our tests.

The database refuses most faults already; this check does not rely on it. Each check is one statement over one snapshot,
so it holds at any moment, also during payments.
"""
# ruff: noqa: S608 - the SQL is made of our own constants

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from fintech.database.connections import open_connection
from payments.ledger.postings import ACCOUNTS, POSTINGS, balances_sql, fee_sql
from payments.states import (
    AUTHENTICATION_PREFIX,
    AUTHENTICATIONS,
    AUTHORIZATION,
    CAPTURE,
    CHARGE,
    DISPUTE,
    FAILED_AUTHENTICATIONS,
    HOLDING,
    NOTES,
    REFUND,
    VOID,
    CaptureStatus,
    ChargeStatus,
    DisputeStatus,
    RefundStatus,
    VoidStatus,
    sql_list,
)

# What a report names one by one; there may be more.
MAX_FINDINGS = 1000


@dataclass(frozen=True)
class Finding:
    """A fault in the rows: the check that found it, the payment, refund or key, and a description."""

    check: str
    resource: str
    detail: str


POSTED = ", ".join(f"posted.{account}" for account in ACCOUNTS)
SUMS = ", ".join(
    f"coalesce(sum(leg.amount) FILTER (WHERE leg.account = '{account}'), 0) AS {account}" for account in ACCOUNTS
)

CAPTURED = ", ".join(f"sum(posted.{account}) AS {account}" for account in ACCOUNTS)
CAPTURED_SUMS = ", ".join(f"sums.{account}" for account in ACCOUNTS)
# What the counters hold: each of these events names the process that counted it. A payment that a review made
# `authorized` was counted before, as `in_review`.
COUNTED = [
    *AUTHORIZATION.final,
    *AUTHORIZATION.held,
    ChargeStatus.UNKNOWN,
    *(AUTHENTICATION_PREFIX + outcome for outcome in AUTHENTICATIONS),
    *(lifecycle.event_kind(status) for lifecycle in (CAPTURE, VOID) for status in lifecycle.final),
]
# Payments and the operations that follow them, each with its own id beside the payment's.
RESOURCES = f"""
    SELECT id, id AS transaction_id, NULL::uuid AS refund_id, NULL::uuid AS capture_id, NULL::uuid AS void_id,
        NULL::uuid AS dispute_id, status::text, '' AS prefix FROM payment
    UNION ALL SELECT id, transaction_id, id, NULL, NULL, NULL, status, '{REFUND.event_prefix}' FROM refund
    UNION ALL SELECT id, transaction_id, NULL, id, NULL, NULL, status, '{CAPTURE.event_prefix}' FROM capture
    UNION ALL SELECT id, transaction_id, NULL, NULL, id, NULL, status, '{VOID.event_prefix}' FROM void
"""
SAME_OPERATION = """other.transaction_id = resource.transaction_id
    AND (other.refund_id, other.capture_id, other.void_id)
        IS NOT DISTINCT FROM (resource.refund_id, resource.capture_id, resource.void_id)"""

# The gateway's events move a dispute on, no resolver does: only its journal is compared like that of the others.
DISPUTES = f"""
    UNION ALL SELECT id, transaction_id, NULL, NULL, NULL, id, status, '{DISPUTE.event_prefix}' FROM dispute
"""
DISPUTE_HELD = [DISPUTE.event_kind(status) for status in DISPUTE.held]
DISPUTE_POSTINGS = [kind for kind in POSTINGS if kind.startswith(DISPUTE.event_prefix)]


def dispute_sums(*decided: str) -> str:
    """Return what the postings of a dispute add to each account, once it is opened and decided."""
    kinds = [DISPUTE.event_kind(status) for status in ("opened", *decided)]
    return balances_sql(*kinds, amount="dispute.amount", fee="dispute.fee")


def at_hand(row: str) -> str:
    """Return the condition for rows whose events and legs are in the database, not in an archive's file."""
    return f"NOT EXISTS (SELECT FROM archived WHERE archived.id = {row}.id)"


def without_row(kind: str, table: str) -> str:
    """Return the condition for keys, unless they are of this kind and have their row."""
    return f"NOT EXISTS (SELECT FROM {table} AS found WHERE taken.kind = '{kind}' AND found.id = taken.resource_id)"


def archived_sums() -> str:
    """Return what the rows of archived payments and operations say that was posted to the accounts."""
    postings = [
        (
            "payment",
            f"payment.status = '{ChargeStatus.SUCCEEDED}' AND NOT payment.manual_capture",
            balances_sql(CHARGE.success, amount="payment.amount", fee="payment.fee"),
        ),
        (
            "payment",
            "payment.manually_captured > 0",
            balances_sql(CAPTURE.success, amount="payment.manually_captured", fee="payment.fee"),
        ),
        (
            "refund",
            f"refund.status = '{RefundStatus.SUCCEEDED}'",
            balances_sql(REFUND.success, amount="refund.amount", fee="0"),
        ),
        *(("dispute", f"dispute.status = '{end}'", dispute_sums(end)) for end in DISPUTE.final),
    ]
    return " UNION ALL ".join(
        f"""SELECT payment.merchant_id, payment.currency, ARRAY[{sums}] AS amounts FROM archived
        JOIN {row} ON {row}.id = archived.id
        {"" if row == "payment" else f"JOIN payment ON payment.id = {row}.transaction_id"} WHERE {condition}"""
        for row, condition, sums in postings
    )


# Kind of idempotency key -> table.
KEYED = {"payment": "payments_transaction"} | {
    kind: f"payments_{kind}" for kind in ("refund", "capture", "void", "review")
}
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
            OR event.dispute_id IS NULL
                AND event.kind <> CASE WHEN event.refund_id IS NOT NULL THEN '{REFUND.success}'
                WHEN event.capture_id IS NOT NULL THEN '{CAPTURE.success}' ELSE '{CHARGE.success}' END
            OR event.dispute_id IS NOT NULL AND event.kind NOT IN {sql_list(DISPUTE_POSTINGS)}
            OR NOT EXISTS (SELECT 1 FROM dispute WHERE dispute.id = event.dispute_id) AND event.dispute_id IS NOT NULL
            OR NOT EXISTS (SELECT 1 FROM refund WHERE refund.id = event.refund_id) AND event.refund_id IS NOT NULL
            OR NOT EXISTS (SELECT 1 FROM capture WHERE capture.id = event.capture_id) AND event.capture_id IS NOT NULL
    """,
    "payments_are_posted_once": f"""
        SELECT payment.id, format('%%s, %%s %%s, fee %%s; posted: %%s', payment.status, payment.amount,
            payment.currency, payment.fee, to_jsonb(posted))
        FROM payment LEFT JOIN posted ON posted.transaction_id = payment.id AND posted.refund_id IS NULL
            AND posted.capture_id IS NULL AND posted.dispute_id IS NULL
        WHERE {at_hand("payment")} AND CASE
            WHEN payment.status = '{ChargeStatus.SUCCEEDED}' AND NOT payment.manual_capture
            THEN (posted.events, posted.same_currency, {POSTED}) IS DISTINCT FROM
                (1::bigint, true, {balances_sql(CHARGE.success, amount="payment.amount", fee="payment.fee")})
            ELSE posted.transaction_id IS NOT NULL OR payment.fee <> 0 AND NOT payment.manual_capture END
    """,
    "captures_are_posted_once": f"""
        SELECT capture.id, format('%%s, %%s; posted: %%s', capture.status, capture.amount, to_jsonb(posted))
        FROM capture LEFT JOIN posted ON posted.capture_id = capture.id
        WHERE {at_hand("capture")} AND CASE WHEN capture.status = '{CaptureStatus.SUCCEEDED}'
            THEN (posted.transaction_id, posted.events, posted.same_currency, posted.gateway_clearing)
                IS DISTINCT FROM (capture.transaction_id, 1::bigint, true, capture.amount::numeric)
            ELSE posted.transaction_id IS NOT NULL END
    """,
    "captures_add_up": f"""
        SELECT payment.id, format('captured %%s, fee %%s; its captures: %%s', payment.manually_captured, payment.fee,
            to_jsonb(sums))
        FROM payment LEFT JOIN (
            SELECT capture.transaction_id, sum(capture.amount) AS captured, {CAPTURED}
            FROM capture JOIN posted ON posted.capture_id = capture.id GROUP BY capture.transaction_id
        ) AS sums ON sums.transaction_id = payment.id
        WHERE {at_hand("payment")} AND CASE WHEN payment.manually_captured > 0
            THEN (sums.captured, {CAPTURED_SUMS}) IS DISTINCT FROM (payment.manually_captured::numeric,
                {balances_sql(CAPTURE.success, amount="payment.manually_captured", fee="payment.fee")})
            ELSE sums.transaction_id IS NOT NULL END
    """,
    "what_is_held_is_left": f"""
        SELECT payment.id, format('%%s, captured %%s of %%s; held: %%s, under way: %%s', payment.status,
            payment.manually_captured, payment.amount, to_jsonb(held), to_jsonb(work))
        FROM payment
        LEFT JOIN payments_authorization AS held ON held.transaction_id = payment.id
        LEFT JOIN (
            SELECT transaction_id, sum(amount) FILTER (WHERE kind = 'capture') AS reserved,
                (array_agg(id) FILTER (WHERE closes))[1] AS closing_id, count(*) FILTER (WHERE closes) AS closing
            FROM (
                SELECT id, transaction_id, amount, 'capture' AS kind, final AS closes FROM capture
                WHERE status IN {sql_list(CAPTURE.open)}
                UNION ALL SELECT id, transaction_id, amount, 'void', true FROM void
                WHERE status IN {sql_list(VOID.open)}
            ) AS operation GROUP BY transaction_id
        ) AS work ON work.transaction_id = payment.id
        WHERE CASE WHEN payment.status IN {sql_list(HOLDING)}
            THEN (held.amount_left, held.amount_reserved, held.currency, held.closing_id, held.capture_before)
                IS DISTINCT FROM (payment.amount - payment.manually_captured, coalesce(work.reserved, 0),
                payment.currency, work.closing_id, payment.capture_before) OR work.closing > 1
            ELSE held.transaction_id IS NOT NULL OR work.transaction_id IS NOT NULL END
    """,
    "voids_follow_from_the_status": f"""
        SELECT void.id, format('%%s; its payment is %%s', void.status, payment.status)
        FROM void JOIN payment ON payment.id = void.transaction_id
        WHERE void.status = '{VoidStatus.SUCCEEDED}' AND (payment.status NOT IN {sql_list(AUTHORIZATION.final)}
            OR void.amount <> payment.amount - payment.manually_captured)
        UNION ALL
        SELECT payment.id, 'voided without a void' FROM payment WHERE payment.status = '{ChargeStatus.VOIDED}'
            AND NOT EXISTS (SELECT 1 FROM void WHERE void.transaction_id = payment.id
                AND void.status = '{VoidStatus.SUCCEEDED}')
    """,
    "fees_follow_from_the_rate": f"""
        SELECT payment.id, format('%%s %%s at %%s basis points, but a fee of %%s', payment.amount, payment.currency,
            payment.fee_basis_points, payment.fee)
        FROM payment
        WHERE payment.fee <> CASE WHEN payment.manual_capture
            THEN {fee_sql("payment.manually_captured", "payment.fee_basis_points")}
            WHEN payment.status = '{ChargeStatus.SUCCEEDED}'
            THEN {fee_sql("payment.amount", "payment.fee_basis_points")} ELSE 0 END
    """,
    "refunds_are_posted_once": f"""
        SELECT refund.id, format('%%s, %%s; posted: %%s', refund.status, refund.amount, to_jsonb(posted))
        FROM refund LEFT JOIN posted ON posted.refund_id = refund.id
        WHERE {at_hand("refund")} AND CASE WHEN refund.status = '{RefundStatus.SUCCEEDED}'
            THEN (posted.transaction_id, posted.events, posted.same_currency, {POSTED})
                IS DISTINCT FROM (refund.transaction_id, 1::bigint, true,
                {balances_sql(REFUND.success, amount="refund.amount", fee="0")})
            ELSE posted.transaction_id IS NOT NULL END
    """,
    "disputes_are_posted": f"""
        SELECT dispute.id, format('%%s, %%s, fee %%s; posted: %%s', dispute.status, dispute.amount, dispute.fee,
            to_jsonb(posted))
        FROM dispute LEFT JOIN posted ON posted.dispute_id = dispute.id
        WHERE {at_hand("dispute")} AND (
            (posted.transaction_id, posted.same_currency) IS DISTINCT FROM (dispute.transaction_id, true)
            OR CASE dispute.status
            WHEN '{DisputeStatus.WON}' THEN (posted.events, {POSTED})
                IS DISTINCT FROM (2::bigint, {dispute_sums("won")})
            WHEN '{DisputeStatus.LOST}' THEN (posted.events, {POSTED})
                IS DISTINCT FROM (2::bigint, {dispute_sums("lost")})
            ELSE (posted.events, {POSTED}) IS DISTINCT FROM (1::bigint, {dispute_sums()}) END)
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
            CASE WHEN other.resource_id IS NULL THEN 'not' ELSE 'still' END)
        FROM ({RESOURCES}) AS resource
        LEFT JOIN payments_unresolved AS other ON other.resource_id = resource.id AND {SAME_OPERATION}
        WHERE (resource.status IN {sql_list(CHARGE.open)}) <> (other.resource_id IS NOT NULL)
    """,
    "status_is_the_last_event": f"""
        SELECT resource.id, format('%%s, but its journal: %%s', resource.status, other.kinds)
        FROM ({RESOURCES} {DISPUTES}) AS resource
        LEFT JOIN (
            SELECT event.transaction_id, event.refund_id, event.capture_id, event.void_id, event.dispute_id,
                array_agg(event.kind::text ORDER BY event.id) AS kinds,
                count(*) FILTER (WHERE event.kind NOT LIKE '%%processing' AND event.kind NOT LIKE '%%unknown'
                    AND event.kind NOT IN {sql_list([*AUTHORIZATION.held, *DISPUTE_HELD])}) AS finals
            FROM payments_event AS event JOIN payment ON payment.id = event.transaction_id
            WHERE event.kind NOT IN {sql_list(NOTES)}
                AND NOT starts_with(event.kind, '{AUTHENTICATION_PREFIX}')
            GROUP BY event.transaction_id, event.refund_id, event.capture_id, event.void_id, event.dispute_id
        ) AS other ON {SAME_OPERATION} AND other.dispute_id IS NOT DISTINCT FROM resource.dispute_id
        WHERE {at_hand("resource")} AND (other.kinds IS NULL OR other.finals > 1
            OR other.kinds[cardinality(other.kinds)] <> resource.prefix || resource.status
            OR cardinality(other.kinds) <> (SELECT count(DISTINCT kind) FROM unnest(other.kinds) AS kind))
    """,
    "authentications_follow_from_the_status": f"""
        SELECT payment.id, format('%%s; its authentication: %%s', payment.status, to_jsonb(found))
        FROM payment LEFT JOIN payments_authentication AS found ON found.transaction_id = payment.id
        WHERE (payment.status = '{ChargeStatus.REQUIRES_ACTION}')
                <> (found.transaction_id IS NOT NULL AND found.outcome IS NULL)
            OR found.outcome IN {sql_list([*FAILED_AUTHENTICATIONS])} AND payment.status NOT IN ('declined', 'failed')
    """,
    "authentications_are_in_the_journal": f"""
        SELECT payment.id, format('%%s, but its journal: %%s', found.outcome, entries.kinds)
        FROM payment LEFT JOIN payments_authentication AS found ON found.transaction_id = payment.id
        LEFT JOIN (
            SELECT event.transaction_id, array_agg(event.kind::text) AS kinds
            FROM payments_event AS event JOIN payment ON payment.id = event.transaction_id
            WHERE starts_with(event.kind, '{AUTHENTICATION_PREFIX}') GROUP BY event.transaction_id
        ) AS entries ON entries.transaction_id = payment.id
        WHERE {at_hand("payment")} AND entries.kinds IS DISTINCT FROM CASE WHEN found.outcome IS NOT NULL
            THEN ARRAY['{AUTHENTICATION_PREFIX}' || found.outcome] END
    """,
    "keys_are_one_to_one": """
        SELECT resource.id, format('key %%s of merchant %%s belongs to %%s', resource.key, resource.merchant_id,
            coalesce(taken.resource_id::text, 'nothing'))
        FROM (SELECT id, merchant_id, idempotency_key AS key, 'payment' AS kind FROM payment
            UNION ALL SELECT refund.id, payment.merchant_id, refund.idempotency_key, 'refund'
            FROM refund JOIN payment ON payment.id = refund.transaction_id
            UNION ALL SELECT review.id, payment.merchant_id, review.idempotency_key, 'review'
            FROM review JOIN payment ON payment.id = review.transaction_id
            UNION ALL SELECT capture.id, payment.merchant_id, capture.idempotency_key, 'capture'
            FROM capture JOIN payment ON payment.id = capture.transaction_id
            WHERE capture.id NOT IN (SELECT id FROM review)
            UNION ALL SELECT void.id, payment.merchant_id, void.idempotency_key, 'void'
            FROM void JOIN payment ON payment.id = void.transaction_id
            WHERE void.idempotency_key IS NOT NULL AND void.id NOT IN (SELECT id FROM review)
            ) AS resource
        LEFT JOIN payments_idempotencykey AS taken ON (taken.merchant_id, taken.key, taken.kind)
            = (resource.merchant_id, resource.key, resource.kind)
        WHERE taken.resource_id IS DISTINCT FROM resource.id
    """,
    "keys_belong_to_something": f"""
        SELECT taken.resource_id, format('key %%s of merchant %%s has no %%s', taken.key, taken.merchant_id, taken.kind)
        FROM payments_idempotencykey AS taken
        WHERE (%(merchants)s::bigint[] IS NULL OR taken.merchant_id = ANY(%(merchants)s))
            AND {" AND ".join(without_row(kind, table) for kind, table in KEYED.items())}
    """,
    "final_payments_are_counted": f"""
        SELECT payment.id, format('event %%s (%%s) is in no counter', event.id, event.kind)
        FROM payments_event AS event JOIN payment ON payment.id = event.transaction_id
        LEFT JOIN payments_writer AS writer ON writer.id = event.writer_id
        WHERE event.kind IN {sql_list(COUNTED)} AND writer.id IS NULL
            AND NOT (event.kind = '{ChargeStatus.AUTHORIZED}' AND payment.review IS NOT NULL)
    """,
    "archives_add_up": f"""
        SELECT format('merchant %%s', merchant_id), format('%%s: carried forward %%s %%s; the archived rows say %%s',
            account, coalesce(carried.amount, 0), currency, coalesce(expected.amount, 0))
        FROM (
            SELECT merchant_id, currency, account, sum(amount) AS amount
            FROM ({archived_sums()}) AS row, unnest(ARRAY{list(ACCOUNTS)}, amounts) AS posted (account, amount)
            GROUP BY merchant_id, currency, account
        ) AS expected
        FULL JOIN (
            SELECT merchant_id, currency, account::text, sum(amount) AS amount FROM payments_archivedtotal
            WHERE account <> '' AND (%(merchants)s::bigint[] IS NULL OR merchant_id = ANY(%(merchants)s))
            GROUP BY merchant_id, currency, account
        ) AS carried USING (merchant_id, currency, account)
        WHERE coalesce(expected.amount, 0) <> coalesce(carried.amount, 0)
    """,
}

# Over all merchants only: the KPIs know none.
TOTALS_CHECK = f"""
    SELECT coalesce(rows.status, kpi.status), format('%%s payments, but the KPIs count %%s', rows.count, kpi.count)
    FROM (SELECT status::text, count(*) AS count FROM payments_transaction
        WHERE status IN {sql_list(AUTHORIZATION.final)} GROUP BY status) AS rows
    FULL JOIN (SELECT kind::text AS status, sum(count)::bigint AS count FROM payments_kpi_totals
        WHERE kind IN {sql_list(AUTHORIZATION.final)} GROUP BY kind) AS kpi USING (status)
    WHERE rows.count IS DISTINCT FROM kpi.count
"""


# The payments that are looked at, what followed them, what is archived of both, and all that was posted (a payment's
# own: no other id).
def following(table: str) -> str:
    """Return the rows of a table that follow the payments."""
    rows = f"SELECT {table}.* FROM payments_{table} AS {table} JOIN payment ON payment.id = {table}.transaction_id"
    return f"{table} AS MATERIALIZED ({rows})"


_SCOPE = f"""
WITH payment AS MATERIALIZED (
    SELECT * FROM payments_transaction
    WHERE %(merchants)s::bigint[] IS NULL OR merchant_id = ANY(%(merchants)s)
), {", ".join(map(following, ("refund", "capture", "void", "review", "dispute")))}, archived AS MATERIALIZED (
    SELECT unnest(payments) AS id FROM payments_archivedpart
    UNION SELECT unnest(operations) FROM payments_archivedpart
), posted AS (
    SELECT leg.transaction_id, event.refund_id, event.capture_id, event.dispute_id, count(DISTINCT event.id) AS events,
        bool_and(leg.currency = payment.currency) AS same_currency,
        {SUMS}
    FROM payments_ledgerleg AS leg
    JOIN payments_event AS event ON event.id = leg.event_id
    JOIN payment ON payment.id = leg.transaction_id
    GROUP BY leg.transaction_id, event.refund_id, event.capture_id, event.dispute_id
)
"""


def check_ledger(merchants: Sequence[int] | None = None) -> Iterator[tuple[str, list[Finding]]]:
    """Yield each check's name and its findings, for these merchants or for all."""
    parameters = {"merchants": list(merchants) if merchants is not None else None}
    statements = {name: f"{_SCOPE} {check} LIMIT {MAX_FINDINGS}" for name, check in CHECKS.items()}
    if merchants is None:
        statements["kpis_count_every_payment"] = f"{TOTALS_CHECK} LIMIT {MAX_FINDINGS}"
    with closing(open_connection("audit_ledger")) as connection:
        connection.execute("SET statement_timeout = 0")
        for name, statement in statements.items():
            rows = connection.execute(statement, parameters).fetchall()
            yield name, [Finding(name, str(resource), detail) for resource, detail in rows]
