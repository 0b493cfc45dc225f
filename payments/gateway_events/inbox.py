"""The inbox: store each event once, as it came, and process what is due.

One worker processes. An event is marked after it was applied; a worker that is killed in between applies it again, so
every function that applies one is idempotent.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db.models.functions import Now

from fintech.database.sql import execute, fetch_one
from fintech.errors import DATABASE_ERRORS
from fintech.jobs import growing_pause
from fintech.telemetry import tracing
from fintech.telemetry.logging import request_id
from fintech.texts import contains_nul
from payments import metrics
from payments.gateway_events.errors import UNREADABLE
from payments.gateway_events.kinds import NotYet, Refused, kinds_of
from payments.models import GatewayEvent

logger = logging.getLogger("payments.gateway_events")

BATCH_SIZE = 100
MAX_PAUSE_SECONDS = 60.0
STORE = """
INSERT INTO payments_gatewayevent (gateway, identifier, sent_at, body, request_id, detail)
VALUES (%s, %s, %s, %s, %s, '') ON CONFLICT (gateway, identifier) DO NOTHING
"""
WAITING = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)::float8
FROM payments_gatewayevent WHERE processed_at IS NULL
"""


class Envelope(msgspec.Struct):
    type: str
    data: msgspec.Raw


def store_event(*, gateway: str, identifier: str, sent_at: datetime, body: bytes) -> bool:
    """Store an event without reading it. Returns False if this gateway's event of this id is stored already."""
    if execute(STORE, [gateway, identifier, sent_at, body, request_id.get()]):
        return True
    stored = GatewayEvent.objects.get(gateway=gateway, identifier=identifier)
    if bytes(stored.body) != body:
        logger.warning("gateway_event_differs", extra={"gateway_event": stored.pk})
    return False


def process_due() -> int:
    """Process the events that are due. Returns how many there were."""
    due = list(GatewayEvent.objects.filter(processed_at=None, due_at__lte=Now()).order_by("id")[:BATCH_SIZE])
    for event in due:
        with tracing.task("gateway_event", {"attempt": event.attempts}):
            process(event)
    return len(due)


def waiting() -> tuple[int, float]:
    """Return how many events wait, and for how many seconds the oldest has waited."""
    return fetch_one(WAITING)


def process(event: GatewayEvent) -> None:
    """Apply one event and mark it, or let it wait for a growing pause.

    A fault of one event must not stop those behind it. Without the database, the pause cannot be stored: then this
    raises, and the turn ends.
    """
    try:
        _mark(event, *_apply(event))
    except NotYet as reason:
        _wait(event, str(reason))
    except Exception as error:
        _wait(event, type(error).__name__)
        trace = None if isinstance(error, DATABASE_ERRORS) else error
        extra = {"gateway_event": event.pk, "error": type(error).__name__}
        logger.error("gateway_event_failed", exc_info=trace, extra=extra)


def _mark(event: GatewayEvent, outcome: str, detail: str) -> None:
    detail = detail.replace("\0", "")  # it may repeat what cannot be read
    unprocessed = GatewayEvent.objects.filter(pk=event.pk, processed_at=None)
    unprocessed.update(type=event.type, outcome=outcome, detail=detail, processed_at=Now())
    metrics.GATEWAY_EVENTS_PROCESSED.labels(outcome).inc()
    level = logging.INFO if outcome in ("applied", "ignored") else logging.ERROR
    extra = {"gateway_event": event.pk, "type": event.type, "outcome": outcome, "detail": detail}
    logger.log(level, "gateway_event", extra=extra)


def _apply(event: GatewayEvent) -> tuple[str, str]:
    """Return the outcome and a sentence about it. Raise NotYet if it must wait."""
    try:
        envelope = msgspec.json.decode(bytes(event.body), type=Envelope)
        event.type = envelope.type.replace("\0", "")[:100]
        kind = kinds_of(event.gateway).get(envelope.type)
        if kind is None:
            return "unknown_type", "no function applies events of this type"
        data: Any = msgspec.json.decode(envelope.data, type=kind.data)
    except UNREADABLE as error:
        return "unreadable", str(error)[:300]
    if contains_nul(data):
        return "unreadable", "a text contains the character NUL"
    try:
        return ("applied", "") if kind.apply(data) else ("ignored", "nothing was left to do")
    except Refused as reason:
        return "refused", str(reason)


def _wait(event: GatewayEvent, reason: str) -> None:
    pause = growing_pause(event.attempts, most=MAX_PAUSE_SECONDS)
    waiting = GatewayEvent.objects.filter(pk=event.pk, processed_at=None)
    waiting.update(
        type=event.type, detail=reason[:300], attempts=event.attempts + 1, due_at=Now() + timedelta(seconds=pause)
    )
