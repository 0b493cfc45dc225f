"""Drop what a file has from the database, part by part; the books carry its totals forward in the same transaction.

A payment whose rows are not exactly those in the file stays: it was changed since. A trigger refuses to delete rows of
any payment that the part does not name. Inserts of payments wait for nothing here.
"""
# ruff: noqa: S608 - the SQL is made of our own constants

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from payments.archive import files
from payments.archive.selection import OPERATIONS, read_units
from payments.models import Archive, ArchivedPart
from payments.webhooks.redelivery import QUEUE_LOCK

PART = 500  # payments of one transaction

# The services lock a payment before they change anything of it, and a repeated webhook refers to its event.
LOCK_PAYMENTS = "SELECT id FROM payments_transaction WHERE id = ANY (%s) ORDER BY id FOR UPDATE"
LOCK_WEBHOOKS = "SELECT id FROM payments_webhookevent WHERE id = ANY (%s) ORDER BY id FOR UPDATE"

RECORD = """
INSERT INTO payments_archivedpart (archive_id, number, first_payment, last_payment, payments, operations)
VALUES (%s, %s, %s, %s, %s, %s) RETURNING id
"""
CARRY_FORWARD = """
INSERT INTO payments_archivedtotal AS total
    (archive_id, merchant_id, gateway, kind, account, currency, count, amount)
SELECT %(archive)s, payment.merchant_id, payment.gateway, row.kind, row.account, coalesce(row.currency,
    payment.currency), count(*), sum(row.amount)
FROM (
    SELECT transaction_id, kind, '' AS account, NULL AS currency, 0 AS amount FROM payments_event
    WHERE id = ANY (%(events)s)
    UNION ALL SELECT leg.transaction_id, event.kind, leg.account, leg.currency, leg.amount
    FROM payments_ledgerleg AS leg JOIN payments_event AS event ON event.id = leg.event_id
    WHERE leg.id = ANY (%(legs)s)
) AS row JOIN payments_transaction AS payment ON payment.id = row.transaction_id
GROUP BY 2, 3, 4, 5, 6
ON CONFLICT (archive_id, merchant_id, gateway, kind, account, currency) DO UPDATE
    SET count = total.count + excluded.count, amount = total.amount + excluded.amount
"""
# In this order, the trigger finds the payment of each row.
DROPPED = {
    "attempts": "payments_webhookattempt",
    "deliveries": "payments_webhookdelivery",
    "webhook_events": "payments_webhookevent",
    "legs": "payments_ledgerleg",
    "events": "payments_event",
}


def drop(archive: Archive, path: Path, progress: Any) -> int:
    """Drop the parts of a verified file that are still there. Return the number of payments. Can be repeated."""
    recorded = ArchivedPart.objects.using("owner").filter(archive=archive)
    done = set(recorded.values_list("number", flat=True))
    dropped = 0
    for number, part in enumerate(files.parts(files.units(path), PART)):
        progress("dropping payments", number * PART, archive.payments)
        if number not in done:
            dropped += _drop_part(archive, number, part)
    return dropped


@atomic(using="owner")
def _drop_part(archive: Archive, number: int, part: list[tuple[bytes, files.Unit]]) -> int:
    payments = {UUID(unit["payment"]["id"]): (line, unit) for line, unit in part}
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [QUEUE_LOCK])
        cursor.execute(LOCK_PAYMENTS, [list(payments)])
        cursor.execute(LOCK_WEBHOOKS, [list(_ids((unit for _, unit in part), "webhook_events"))])
        found = read_units(list(payments), before=archive.before, last_event=archive.last_event)
        same = {payment: unit for payment, (line, unit) in payments.items() if found.get(payment) == line}
        _record(cursor, archive, number, sorted(payments), same)
        units = list(same.values())
        events, legs = list(_ids(units, "events")), list(_ids(units, "legs"))
        cursor.execute(CARRY_FORWARD, {"archive": archive.pk, "events": events, "legs": legs})
        for name, table in DROPPED.items():
            cursor.execute(f"DELETE FROM {table} WHERE id = ANY (%s)", [list(_ids(units, name))])
    return len(same)


def _record(
    cursor: CursorWrapper, archive: Archive, number: int, payments: list[UUID], same: dict[UUID, files.Unit]
) -> None:
    """Store the part, and let the trigger know it until the transaction ends."""
    operations = [UUID(row) for name in OPERATIONS for row in _ids(same.values(), name)]
    values: list[Any] = [archive.pk, number, payments[0], payments[-1], sorted(same), operations]
    cursor.execute(RECORD, values)
    (part,) = cursor.fetchone()
    cursor.execute("SELECT set_config('payments.archived_part', %s, true)", [str(part)])


def _ids(units: Any, name: str) -> Iterator[Any]:
    for unit in units:
        for row in unit[name] or ():
            yield row["id"]
