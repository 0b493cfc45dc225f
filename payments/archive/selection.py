"""Select the payments at rest, each with all that belongs to it, as one line of JSON that the database makes.

A payment is at rest if it and all its operations were final before a time, its challenge is decided, and no webhook
about it is waiting. The journal up to `last_event` is announced and in the KPIs, so all of its rows are visible.
"""
# ruff: noqa: S608 - the SQL is made of our own constants

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fintech.database.sql import fetch_all, fetch_one

# The events that one statement examines, well within statement_timeout.
WINDOW = 2_000

LAST_EVENT = """
SELECT least((SELECT event_id FROM payments_kpiwatermark), (SELECT event_id FROM payments_webhookwatermark))
"""
NEXT_WINDOW = """
SELECT max(id), min(at) < %(before)s FROM (
    SELECT id, at FROM payments_event WHERE id > %(after)s AND id <= %(last_event)s ORDER BY id LIMIT %(window)s
) AS entry
"""


def rows(table: str, payment: str = "row.transaction_id") -> str:
    return f"(SELECT jsonb_agg(to_jsonb(row) ORDER BY row.id) FROM {table} AS row WHERE {payment} = payment.id)"


# Tables with the payment's id, beside the journal and what it leads to.
OPERATIONS = {
    "captures": "payments_capture",
    "voids": "payments_void",
    "refunds": "payments_refund",
    "disputes": "payments_dispute",
}
OF_PAYMENT = {**OPERATIONS, "reviews": "payments_review", "legs": "payments_ledgerleg"}

JOURNAL = """
CROSS JOIN LATERAL (
    SELECT jsonb_agg(to_jsonb(event) ORDER BY event.id) AS entries, array_agg(event.id) AS ids,
        min(event.id) AS first_event, max(event.id) AS last_event, max(event.at) AS at
    FROM payments_event AS event WHERE event.transaction_id = payment.id
) AS journal
CROSS JOIN LATERAL (
    SELECT jsonb_agg(to_jsonb(announced) ORDER BY announced.id) AS entries, array_agg(announced.id) AS ids
    FROM payments_webhookevent AS announced WHERE announced.journal_id = ANY (journal.ids)
) AS webhook
CROSS JOIN LATERAL (
    SELECT jsonb_agg(to_jsonb(delivery) ORDER BY delivery.id) AS entries, array_agg(delivery.id) AS ids,
        coalesce(bool_or(delivery.status = 'pending'), false) AS is_pending
    FROM payments_webhookdelivery AS delivery WHERE delivery.event_id = ANY (webhook.ids)
) AS deliveries
"""
AT_REST = f"""
payment.settled_at < %(before)s AND journal.at < %(before)s AND journal.last_event <= %(last_event)s
AND NOT deliveries.is_pending
AND NOT EXISTS (SELECT FROM payments_unresolved AS row WHERE row.transaction_id = payment.id)
AND NOT EXISTS (SELECT FROM payments_authentication AS row
    WHERE row.transaction_id = payment.id AND row.decided_at IS NULL)
AND {
    " AND ".join(
        f"NOT EXISTS (SELECT FROM {table} AS row WHERE row.transaction_id = payment.id AND row.settled_at IS NULL)"
        for table in OPERATIONS.values()
    )
}
"""
UNIT = f"""
jsonb_build_object('payment', to_jsonb(payment), 'events', journal.entries, 'webhook_events', webhook.entries,
    'deliveries', deliveries.entries,
    'attempts', (SELECT jsonb_agg(to_jsonb(row) ORDER BY row.id) FROM payments_webhookattempt AS row
        WHERE row.delivery_id = ANY (deliveries.ids)),
    'authentication', (SELECT to_jsonb(row) FROM payments_authentication AS row WHERE row.transaction_id = payment.id),
    'dispute_responses', (SELECT jsonb_agg(to_jsonb(row) ORDER BY row.id) FROM payments_disputeresponse AS row
        JOIN payments_dispute AS dispute ON dispute.id = row.dispute_id WHERE dispute.transaction_id = payment.id),
    {", ".join(f"'{name}', {rows(table)}" for name, table in OF_PAYMENT.items())})::text
"""
# The payments whose first event is in a window: each is examined once, also if its events are far apart.
EXAMINE = f"""
SELECT payment.id, CASE WHEN {AT_REST} THEN {UNIT} END
FROM (
    SELECT DISTINCT transaction_id FROM payments_event WHERE id > %(after)s AND id <= %(upto)s AND at < %(before)s
) AS entry
JOIN payments_transaction AS payment ON payment.id = entry.transaction_id
{JOURNAL}
WHERE journal.first_event > %(after)s ORDER BY payment.id
"""
READ = f"""
SELECT payment.id, CASE WHEN {AT_REST} THEN {UNIT} END FROM payments_transaction AS payment {JOURNAL}
WHERE payment.id = ANY (%(payments)s)
"""


@dataclass
class Selection:
    """The payments at rest before a time. `examined` and `stays` count while they are read."""

    before: datetime
    last_event: int
    examined: int = 0
    stays: int = 0
    event: int = 0  # the journal is read up to it

    @classmethod
    def find(cls, before: datetime) -> "Selection":
        return cls(before, fetch_one(LAST_EVENT, using="owner")[0] or 0)

    def lines(self) -> Iterator[bytes]:
        """Yield the unit of each payment at rest."""
        known: dict[str, Any] = {"before": self.before, "last_event": self.last_event, "window": WINDOW}
        while True:
            known["after"] = self.event
            known["upto"], is_early = fetch_one(NEXT_WINDOW, known, using="owner")
            if not is_early:
                return
            lines = fetch_all(EXAMINE, known, using="owner")
            self.event = known["upto"]
            for _, line in lines:
                self.examined += 1
                self.stays += line is None
                if line is not None:
                    yield line.encode()


def read_units(payments: Sequence[UUID], *, before: datetime, last_event: int) -> dict[UUID, bytes]:
    """Return the units of those of these payments that are at rest."""
    values: dict[str, Any] = {"payments": list(payments), "before": before, "last_event": last_event}
    rows = fetch_all(READ, values, using="owner")
    return {payment: line.encode() for payment, line in rows if line is not None}
