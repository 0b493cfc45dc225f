"""Compare the money at the gateway with the ledger, item by item: `manage.py reconcile`.

An item is a charge, a capture, a refund or a dispute that moved money, identified by its gateway key. Items that are
not final are left out (`in_flight.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from fintech.database.connections import open_connection
from payments.gateway.base import Gateway
from payments.ids import first_id_at
from payments.ledger.consistency import MAX_FINDINGS, Finding
from payments.ledger.in_flight import IN_FLIGHT

COPY = "COPY moved (kind, key, name, charge, amount, currency, reference, at) FROM STDIN"

FIELDS = ("charge", "amount", "currency", "reference", "at")

# `key` is NULL where the gateway's key (`name`) is no UUID, so none of ours. `id` is our payment's or refund's.
TABLES = """
CREATE TEMP TABLE moved (
    kind text NOT NULL, key uuid, name text NOT NULL, charge text, amount bigint NOT NULL, currency text NOT NULL,
    reference text, at timestamptz NOT NULL);
CREATE TEMP TABLE in_flight (key uuid PRIMARY KEY);
CREATE TEMP TABLE booked (
    kind text NOT NULL, id uuid NOT NULL, key uuid NOT NULL, charge uuid NOT NULL, amount numeric NOT NULL,
    currency text NOT NULL, merchant_id bigint, event_id bigint NOT NULL);
"""

KEEP_IN_FLIGHT = f"INSERT INTO in_flight SELECT key FROM ({IN_FLIGHT}) AS work ON CONFLICT DO NOTHING"  # noqa: S608 - our own

# Our ids contain the time of the request. A record whose key we do not know has only the gateway's time.
FORGET_EARLIER = """
WITH known AS (
    SELECT 'charge' AS kind, gateway_key, id FROM payments_transaction
    UNION ALL SELECT 'refund', gateway_key, id FROM payments_refund
    UNION ALL SELECT 'capture', gateway_key, id FROM payments_capture
    UNION ALL SELECT kind, gateway_key, id FROM payments_dispute, (VALUES ('dispute'), ('dispute_return')) AS of(kind)
)
DELETE FROM moved USING moved AS record
LEFT JOIN known ON (known.kind, known.gateway_key) = (record.kind, record.key)
WHERE moved.ctid = record.ctid AND coalesce(known.id < %(first_id)s, record.at < %(since)s)
"""

# What the ledger says that the gateway moved: one row per charge, capture or refund. Faulty legs are added up as they
# are; `audit_ledger` reports faults within the ledger.
#
# The legs of archived payments are in files. Their rows say the same, as `audit_ledger` checks. One statement reads
# both, so it also fits while payments are archived.
BOOK = """
WITH archived AS MATERIALIZED (
    SELECT unnest(payments) AS id FROM payments_archivedpart
    UNION ALL SELECT unnest(operations) FROM payments_archivedpart
), archived_move AS (
    SELECT 'charge' AS kind, id, gateway_key, id AS transaction_id, amount FROM payments_transaction
    WHERE status = 'succeeded' AND NOT manual_capture
    UNION ALL SELECT 'capture', id, gateway_key, transaction_id, amount FROM payments_capture WHERE status = 'succeeded'
    UNION ALL SELECT 'refund', id, gateway_key, transaction_id, amount FROM payments_refund WHERE status = 'succeeded'
    UNION ALL SELECT 'dispute', id, gateway_key, transaction_id, amount + fee FROM payments_dispute
    UNION ALL SELECT 'dispute_return', id, gateway_key, transaction_id, amount FROM payments_dispute
    WHERE status = 'won'
)
INSERT INTO booked (kind, id, key, charge, amount, currency, merchant_id, event_id)
SELECT CASE WHEN event.kind = 'dispute_won' THEN 'dispute_return'
        WHEN event.dispute_id IS NOT NULL THEN 'dispute'
        WHEN event.refund_id IS NOT NULL THEN 'refund'
        WHEN event.capture_id IS NOT NULL THEN 'capture' ELSE 'charge' END,
    coalesce(event.refund_id, event.capture_id, event.dispute_id, leg.transaction_id),
    coalesce(refund.gateway_key, event.refund_id, capture.gateway_key, event.capture_id, dispute.gateway_key,
        event.dispute_id, payment.gateway_key, leg.transaction_id),
    coalesce(payment.gateway_key, leg.transaction_id),
    CASE WHEN event.refund_id IS NOT NULL OR event.dispute_id IS NOT NULL AND NOT (event.kind = 'dispute_won')
        THEN -sum(leg.amount) ELSE sum(leg.amount) END, leg.currency,
    payment.merchant_id, max(event.id)
FROM payments_ledgerleg AS leg
JOIN payments_event AS event ON event.id = leg.event_id
LEFT JOIN payments_transaction AS payment ON payment.id = leg.transaction_id
LEFT JOIN payments_refund AS refund ON refund.id = event.refund_id
LEFT JOIN payments_capture AS capture ON capture.id = event.capture_id
LEFT JOIN payments_dispute AS dispute ON dispute.id = event.dispute_id
WHERE leg.account = 'gateway_clearing' AND coalesce(payment.gateway, %(default)s) = %(gateway)s
    AND (%(first_id)s::uuid IS NULL
        OR coalesce(event.refund_id, event.capture_id, event.dispute_id, leg.transaction_id) >= %(first_id)s)
GROUP BY event.refund_id, event.capture_id, event.dispute_id, leg.transaction_id, payment.gateway_key,
    refund.gateway_key, capture.gateway_key, dispute.gateway_key, leg.currency, payment.merchant_id,
    (event.kind = 'dispute_won')
UNION ALL
SELECT move.kind, move.id, move.gateway_key, payment.gateway_key, move.amount, payment.currency, payment.merchant_id, 0
FROM (SELECT DISTINCT id FROM archived) AS archived JOIN archived_move AS move ON move.id = archived.id
JOIN payments_transaction AS payment ON payment.id = move.transaction_id
WHERE payment.gateway = %(gateway)s AND (%(first_id)s::uuid IS NULL OR move.id >= %(first_id)s)
"""

COMPARE = """
WITH theirs AS (
    SELECT kind, key, name, charge, currency, sum(amount) AS amount, string_agg(reference, ', ') AS reference
    FROM moved GROUP BY 1, 2, 3, 4, 5
)
SELECT 'missing_in_ledger',
    coalesce(payment.id::text, refund.id::text, capture.id::text, dispute.id::text, theirs.name),
    format('the gateway made a %%s of %%s %%s (%%s); here it is %%s', theirs.kind, theirs.amount, theirs.currency,
    theirs.reference, coalesce(payment.status, refund.status, capture.status, dispute.status, 'not known'))
FROM theirs
LEFT JOIN booked ON (booked.kind, booked.key) = (theirs.kind, theirs.key)
LEFT JOIN in_flight ON in_flight.key = theirs.key
LEFT JOIN payments_transaction AS payment ON theirs.kind = 'charge' AND payment.gateway_key = theirs.key
LEFT JOIN payments_refund AS refund ON theirs.kind = 'refund' AND refund.gateway_key = theirs.key
LEFT JOIN payments_capture AS capture ON theirs.kind = 'capture' AND capture.gateway_key = theirs.key
LEFT JOIN payments_dispute AS dispute ON theirs.kind LIKE 'dispute%%' AND dispute.gateway_key = theirs.key
WHERE booked.key IS NULL AND in_flight.key IS NULL
UNION ALL
SELECT 'missing_at_gateway', booked.id::text, format('booked a %%s of %%s %%s; the gateway has none', booked.kind,
    booked.amount, booked.currency)
FROM booked LEFT JOIN theirs ON (theirs.kind, theirs.key) = (booked.kind, booked.key)
WHERE theirs.key IS NULL AND booked.event_id <= %(booked_by)s
    AND (%(merchants)s::bigint[] IS NULL OR booked.merchant_id = ANY(%(merchants)s))
UNION ALL
SELECT 'differs', booked.id::text, format('booked a %%s of %%s %%s for %%s; the gateway has %%s %%s for %%s',
    booked.kind, booked.amount, booked.currency, booked.charge, theirs.amount, theirs.currency,
    coalesce(theirs.charge, theirs.name))
FROM booked JOIN theirs ON (theirs.kind, theirs.key) = (booked.kind, booked.key)
WHERE (theirs.amount, theirs.currency, coalesce(theirs.charge, theirs.name))
    IS DISTINCT FROM (booked.amount, booked.currency, booked.charge::text)
"""

COUNT = """
SELECT count(*) FROM booked
WHERE event_id <= %(booked_by)s AND (%(merchants)s::bigint[] IS NULL OR merchant_id = ANY(%(merchants)s))
"""


@dataclass
class Report:
    """The number of items on either side, and the findings; `since` bounds both."""

    since: datetime | None
    gateway: str = ""
    at_gateway: int = 0
    in_ledger: int = 0
    findings: list[Finding] = field(default_factory=list)


def reconcile(
    gateway: Gateway,
    *,
    since: datetime | None = None,
    merchants: Sequence[int] | None = None,
    progress: Callable[[int], None] = lambda records: None,
) -> Report:
    """Compare both records; with `since`, only payments and refunds that were requested from then on.

    With `merchants`, items of others may be missing at this gateway. `progress` gets the number of records read so far.
    Raises GatewayError and psycopg.Error.
    """
    report = Report(since, gateway.name)
    parameters: dict[str, Any] = {
        "since": since,
        "first_id": first_id_at(since) if since else None,
        "merchants": list(merchants) if merchants is not None else None,
        "gateway": gateway.name,
        "default": settings.GATEWAY_NAME,  # of legs whose payment is missing
    }
    with closing(open_connection("reconcile")) as connection:
        connection.execute("SET statement_timeout = 0")
        # Read first: all that the ledger has by then was at the gateway before its records are read.
        (parameters["booked_by"],) = _one(connection, "SELECT coalesce(max(id), 0) FROM payments_event")
        connection.execute(TABLES)
        report.at_gateway = _copy(connection, _records(gateway, progress))
        if since is not None:
            report.at_gateway -= connection.execute(FORGET_EARLIER, parameters).rowcount
        # In this order, whatever leaves the one on the way is in the other.
        connection.execute(KEEP_IN_FLIGHT)
        connection.execute(BOOK, parameters)
        connection.execute("ANALYZE moved, booked, in_flight")
        (report.in_ledger,) = _one(connection, COUNT, parameters)
        report.findings = [Finding(*row) for row in connection.execute(COMPARE, parameters).fetchmany(MAX_FINDINGS)]
    return report


def _one(connection: psycopg.Connection[Any], statement: str, parameters: Any = None) -> tuple[int]:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return row


def _copy(connection: psycopg.Connection[Any], rows: Iterator[tuple[Any, ...]]) -> int:
    number = 0
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        for row in rows:
            copy.write_row(row)
            number += 1
    return number


def _records(gateway: Gateway, progress: Callable[[int], None]) -> Iterator[tuple[Any, ...]]:
    """Yield all that the gateway moved, page by page; also keys that are not ours, so that they are reported."""
    after: Any = 0
    read = 0
    while after is not None:
        page = gateway.records(after=after)
        for record in page["records"]:
            yield record["kind"], _uuid(record["key"]), record["key"], *(record[name] for name in FIELDS)
        read += len(page["records"])
        progress(read)
        after = page["next"]


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
