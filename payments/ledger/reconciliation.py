"""Is the money at the gateway the money in our ledger, item by item? `manage.py reconcile`.

An item is a charge or a refund that really moved money, named by our own id. What is not final is left out: its money
may be on either side, and the resolver is on it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from fintech.database.connections import open_connection
from payments.api.filters import first_id_at
from payments.gateway.client import Gateway
from payments.ledger.audit import MOST_FINDINGS, Finding

COPY = "COPY moved (kind, key, name, charge, amount, currency, reference) FROM STDIN"

AS_THEY_ARE = ("charge", "amount", "currency", "reference")

TABLES = """
CREATE TEMP TABLE moved (
    kind text NOT NULL, key uuid, name text NOT NULL, charge text, amount bigint NOT NULL, currency text NOT NULL,
    reference text);
CREATE TEMP TABLE in_hand (key uuid PRIMARY KEY);
CREATE TEMP TABLE booked (
    kind text NOT NULL, key uuid NOT NULL, charge uuid NOT NULL, amount numeric NOT NULL, currency text NOT NULL,
    merchant_id bigint, event_id bigint NOT NULL);
"""

# What the ledger says that the gateway moved: one row a charge or refund. Legs that went wrong are added up as they
# are; what is wrong within the ledger is for `audit_ledger` to say.
BOOK = """
INSERT INTO booked (kind, key, charge, amount, currency, merchant_id, event_id)
SELECT CASE WHEN event.refund_id IS NULL THEN 'charge' ELSE 'refund' END,
    coalesce(event.refund_id, leg.transaction_id), leg.transaction_id,
    CASE WHEN event.refund_id IS NULL THEN sum(leg.amount) ELSE -sum(leg.amount) END, leg.currency,
    payment.merchant_id, max(event.id)
FROM payments_ledgerleg AS leg
JOIN payments_event AS event ON event.id = leg.event_id
LEFT JOIN payments_transaction AS payment ON payment.id = leg.transaction_id
WHERE leg.account = 'gateway_clearing'
    AND (%(since)s::uuid IS NULL OR coalesce(event.refund_id, leg.transaction_id) >= %(since)s)
GROUP BY event.refund_id, leg.transaction_id, leg.currency, payment.merchant_id
"""

COMPARE = """
WITH theirs AS (
    SELECT kind, key, name, charge, currency, sum(amount) AS amount, string_agg(reference, ', ') AS reference
    FROM moved GROUP BY 1, 2, 3, 4, 5
)
SELECT 'missing_in_ledger', theirs.name, format('the gateway made a %%s of %%s %%s (%%s); here it is %%s',
    theirs.kind, theirs.amount, theirs.currency, theirs.reference, coalesce(payment.status, refund.status, 'not known'))
FROM theirs
LEFT JOIN booked ON (booked.kind, booked.key) = (theirs.kind, theirs.key)
LEFT JOIN in_hand ON in_hand.key = theirs.key
LEFT JOIN payments_transaction AS payment ON theirs.kind = 'charge' AND payment.id = theirs.key
LEFT JOIN payments_refund AS refund ON theirs.kind = 'refund' AND refund.id = theirs.key
WHERE booked.key IS NULL AND in_hand.key IS NULL
UNION ALL
SELECT 'missing_at_gateway', booked.key::text, format('booked a %%s of %%s %%s; the gateway has none', booked.kind,
    booked.amount, booked.currency)
FROM booked LEFT JOIN theirs ON (theirs.kind, theirs.key) = (booked.kind, booked.key)
WHERE theirs.key IS NULL AND booked.event_id <= %(booked_by)s
    AND (%(merchants)s::bigint[] IS NULL OR booked.merchant_id = ANY(%(merchants)s))
UNION ALL
SELECT 'differs', booked.key::text, format('booked a %%s of %%s %%s for %%s; the gateway has %%s %%s for %%s',
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
    """How many items either side has, and the findings; `since` bounds both."""

    since: datetime | None
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
    """Compare both records. `since`: only payments and refunds that were asked for from then on.

    With `merchants`, items of others may be missing at this gateway. `progress` hears how many records were read.
    Raises GatewayError and psycopg.Error.
    """
    report = Report(since)
    parameters: dict[str, Any] = {
        "since": first_id_at(since) if since else None,
        "merchants": list(merchants) if merchants is not None else None,
    }
    with closing(open_connection("reconcile")) as connection:
        connection.execute("SET statement_timeout = 0")
        # Read first: all that the ledger has by then was at the gateway before its records are read.
        (parameters["booked_by"],) = _one(connection, "SELECT coalesce(max(id), 0) FROM payments_event")
        connection.execute(TABLES)
        report.at_gateway = _copy(connection, _records(gateway, parameters["since"], progress))
        # In this order, whatever leaves the one on the way is in the other.
        connection.execute("INSERT INTO in_hand SELECT resource_id FROM payments_unresolved")
        connection.execute(BOOK, parameters)
        connection.execute("ANALYZE moved, booked, in_hand")
        (report.in_ledger,) = _one(connection, COUNT, parameters)
        report.findings = [Finding(*row) for row in connection.execute(COMPARE, parameters).fetchmany(MOST_FINDINGS)]
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


def _records(gateway: Gateway, since: UUID | None, progress: Callable[[int], None]) -> Iterator[tuple[Any, ...]]:
    """All that the gateway moved, page by page. A key that is none of ours is kept, to be reported."""
    after: int | None = 0
    read = 0
    while after is not None:
        page = gateway.records(after=after)
        for record in page["records"]:
            key = _our_id(record["key"])
            if since is None or key is None or key >= since:
                yield record["kind"], key, *(record[name] for name in ("key", *AS_THEY_ARE))
        read += len(page["records"])
        progress(read)
        after = page["next"]


def _our_id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
