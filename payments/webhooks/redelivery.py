"""Queue events for one endpoint: a test event, or former events again."""

from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django.db.transaction import atomic

from fintech.database.sql import execute
from payments.errors import Conflict, InvalidRequest, NotFound
from payments.ids import SLACK, first_id_at
from payments.models import WebhookDelivery, WebhookEndpoint, WebhookEvent
from payments.webhooks.endpoints import store_event
from payments.webhooks.objects import TEST_TYPE

MAX_REDELIVERED = 10_000
# A part of an archive holds it alone, until its events are gone: what a request has found is there when it is queued.
QUEUE_LOCK = 0x7061792D72646C76  # "pay-rdlv", for pg_advisory_xact_lock

# Queue events for one endpoint, again or for the first time, in their order.
REDELIVER = """
INSERT INTO payments_webhookdelivery AS delivery (endpoint_id, event_id)
SELECT %(endpoint)s, id FROM payments_webhookevent WHERE id = ANY (%(events)s) ORDER BY id
ON CONFLICT (event_id, endpoint_id) DO UPDATE SET status = 'pending', tries = 0, due_at = now(), queued_at = now()
"""


@atomic
def send_test_event(endpoint: WebhookEndpoint) -> WebhookEvent:
    """Queue an event for this endpoint alone, whatever types it wants."""
    _end_pause(endpoint)
    event = store_event(endpoint, TEST_TYPE)
    WebhookDelivery.objects.create(endpoint=endpoint, event=event)
    return event


@atomic
def redeliver_event(endpoint: WebhookEndpoint, event_id: UUID) -> int:
    """Queue one event again. Raises NotFound if the merchant has no such event."""
    queued = _redeliver(endpoint, WebhookEvent.objects.filter(merchant_id=endpoint.merchant_id, pk=event_id))
    if not queued:
        raise NotFound("event")
    return queued


def redeliver_range(endpoint: WebhookEndpoint, begin: datetime, end: datetime) -> int:
    """Queue again the events of a period whose types the endpoint wants. Returns their number."""
    first = first_id_at(begin - SLACK)  # an event is announced after its time, so the index leaves out older ones
    events = WebhookEvent.objects.filter(merchant_id=endpoint.merchant_id, id__gte=first, at__gte=begin, at__lt=end)
    if endpoint.event_types:
        events = events.filter(type__in=endpoint.event_types)
    return _redeliver(endpoint, events.exclude(type=TEST_TYPE))


@atomic
def _redeliver(endpoint: WebhookEndpoint, events: QuerySet[WebhookEvent]) -> int:
    execute("SELECT pg_advisory_xact_lock_shared(%s)", [QUEUE_LOCK])
    found = list(events.order_by("id").values_list("id", flat=True)[: MAX_REDELIVERED + 1])
    if len(found) > MAX_REDELIVERED:
        detail = f"The range has more than {MAX_REDELIVERED} events: choose a shorter one."
        raise InvalidRequest("too_many_events", detail, param="before")
    _end_pause(endpoint)  # not earlier: its row is locked from here on, and deliveries wait for it
    execute(REDELIVER, {"endpoint": endpoint.pk, "events": found})
    return len(found)


def _end_pause(endpoint: WebhookEndpoint) -> None:
    """Let a failing endpoint be tried at once, because its merchant asks. Raises Conflict if it is disabled."""
    if not WebhookEndpoint.objects.filter(pk=endpoint.pk, is_enabled=True).update(retry_at=None):
        raise Conflict("endpoint_disabled", "The endpoint is disabled: enable it first.")
