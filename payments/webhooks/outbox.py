"""Announce what the journal has committed: the journal is the outbox, so a payment costs nothing more.

One worker follows the journal. A statement announces a batch, queues it for the endpoints that want it, and moves the
watermark: all or nothing, so each entry is announced exactly once.
"""

from typing import ClassVar

import orjson

from payments.table_follower import JournalReader
from payments.webhooks.objects import TYPES

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


class Outbox(JournalReader):
    watermark, batch_size, statement = "payments_webhookwatermark", 5_000, ANNOUNCE
    values: ClassVar = {"types": orjson.dumps(TYPES).decode()}
