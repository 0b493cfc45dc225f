"""Announce what the journal has committed: the journal is the outbox, so a payment costs nothing more.

One worker follows the journal. A statement announces a batch, queues it for the endpoints that want it, and moves the
watermark: all or nothing, so each entry is announced exactly once.
"""

from typing import Any

import orjson
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from payments.table_follower import TableFollower
from payments.webhooks.objects import TYPES

# Entries that one statement announces, well within statement_timeout.
BATCH_SIZE = 5_000

ANNOUNCE = """
WITH mark AS (
    SELECT id, event_id AS after, least(%(upto)s, event_id + %(most)s) AS upto FROM payments_webhookwatermark
    WHERE event_id < %(upto)s AND pg_postmaster_start_time()::text = %(server)s
), entry AS MATERIALIZED (
    SELECT event.id, payment.merchant_id, %(types)s::jsonb ->> event.kind AS type, event.at
    FROM mark JOIN payments_event AS event ON event.id > mark.after AND event.id <= mark.upto
    JOIN payments_transaction AS payment ON payment.id = event.transaction_id
    WHERE %(types)s::jsonb ? event.kind
    ORDER BY event.id
), announced AS (
    INSERT INTO payments_webhookevent (id, merchant_id, type, journal_id, at)
    SELECT uuidv7(), merchant_id, type, id, at FROM entry
    RETURNING id, merchant_id, type, journal_id
), queued AS (
    INSERT INTO payments_webhookdelivery (endpoint_id, event_id)
    SELECT endpoint.id, announced.id
    FROM announced JOIN payments_webhookendpoint AS endpoint ON endpoint.merchant_id = announced.merchant_id
    WHERE endpoint.is_enabled
        AND (endpoint.event_types = '{}' OR announced.type = ANY (endpoint.event_types))
    ORDER BY announced.journal_id
)
UPDATE payments_webhookwatermark SET event_id = mark.upto FROM mark WHERE payments_webhookwatermark.id = mark.id
"""


class Outbox:
    def __init__(self) -> None:
        self._follower = TableFollower("payments_event")

    def advance(self) -> None:
        """Announce all that is settled."""
        with connection.cursor() as cursor:
            self._follower.advance(cursor)
            while self._announce_batch(cursor):
                pass

    @atomic
    def _announce_batch(self, cursor: CursorWrapper) -> bool:
        cursor.execute("SELECT 1 FROM payments_webhookwatermark FOR UPDATE")  # then ANNOUNCE sees what came before it
        parameters: dict[str, Any] = {
            "upto": self._follower.settled,
            "server": self._follower.server,
            "most": BATCH_SIZE,
            "types": orjson.dumps(TYPES).decode(),
        }
        cursor.execute(ANNOUNCE, parameters)
        return cursor.rowcount > 0
