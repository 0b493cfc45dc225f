"""Leases of webhook endpoints, as the database has them: the events that are due, and the results of their attempts."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from django.db.models.functions import Now
from django.db.transaction import atomic, on_commit
from django.utils import timezone

from fintech.database.sql import execute, fetch_all
from fintech.errors import DATABASE_ERRORS
from payments import metrics
from payments.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from payments.webhooks.endpoints import valid_secrets
from payments.webhooks.objects import encode, serialize_events
from payments.webhooks.results import TIMEOUT_SECONDS, Result
from payments.webhooks.retries import note_failure, note_success

# Longer than one try, with its storing.
LEASE = timedelta(seconds=2 * TIMEOUT_SECONDS)
TURN_SIZE = 50  # events


@dataclass(frozen=True)
class Lease:
    """The right to send to an endpoint, at the URL that it has now."""

    endpoint_id: UUID
    token: UUID
    url: str


@dataclass(frozen=True)
class Message:
    delivery_id: int
    event_id: UUID
    body: bytes


@dataclass(frozen=True)
class Turn:
    secrets: list[str]
    messages: list[Message]


# In SQL, because each worker asks twice a second: to build the query by Django took four fifths of a turn.
ACQUIRE_ENDPOINTS = """
WITH due AS (
    SELECT id FROM payments_webhookendpoint AS endpoint
    WHERE is_enabled
        AND (lease_until IS NULL OR lease_until <= statement_timestamp())
        AND (retry_at IS NULL OR retry_at <= statement_timestamp())
        AND EXISTS (
            SELECT FROM payments_webhookdelivery
            WHERE endpoint_id = endpoint.id AND status = 'pending' AND due_at <= statement_timestamp()
        )
    ORDER BY lease_until NULLS FIRST LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE payments_webhookendpoint AS endpoint
SET lease_token = %(token)s, lease_until = statement_timestamp() + %(lease)s
FROM due WHERE endpoint.id = due.id
RETURNING endpoint.id, endpoint.url
"""


def acquire_endpoints(limit: int) -> list[Lease]:
    """Lease endpoints with due events that no worker holds, first those that have waited longest."""
    token = uuid4()
    found = fetch_all(ACQUIRE_ENDPOINTS, {"limit": limit, "token": token, "lease": LEASE})
    return [Lease(endpoint_id, token, url) for endpoint_id, url in found]


def read_turn(lease: Lease) -> Turn | None:
    """Return what is due, oldest first; None if the lease is lost, the URL was changed, or nothing is due."""
    leased = WebhookEndpoint.objects.filter(pk=lease.endpoint_id, lease_token=lease.token, url=lease.url)
    endpoint = leased.filter(is_enabled=True).first()
    if endpoint is None:
        return None
    due = endpoint.deliveries.filter(status=WebhookDelivery.Status.PENDING, due_at__lte=Now()).order_by("id")
    deliveries = list(due.select_related("event__journal__transaction")[:TURN_SIZE])
    if not deliveries:
        return None
    events = serialize_events([delivery.event for delivery in deliveries])
    messages = [
        Message(delivery.pk, event.id, encode(event)) for delivery, event in zip(deliveries, events, strict=True)
    ]
    return Turn(valid_secrets(endpoint), messages)


@atomic
def store_result(lease: Lease, delivery_id: int, result: Result) -> bool:
    """Store an attempt of any outcome. Return True if the turn may continue."""
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=lease.endpoint_id)
    delivery = WebhookDelivery.objects.select_for_update(no_key=True).get(pk=delivery_id)
    WebhookAttempt.objects.create(delivery=delivery, **result.stored_fields())
    on_commit(metrics.WEBHOOK_OUTCOME[result.outcome].inc)
    if delivery.status != WebhookDelivery.Status.PENDING or not endpoint.is_enabled:
        return False  # delivered by another worker after our lease ran out, or the endpoint was disabled meanwhile
    is_same_url = endpoint.url == lease.url
    if not (is_same_url or result.is_delivered):
        return False  # the failure of the former URL says nothing about the new one, where the event is still due
    holds_lease = endpoint.lease_token == lease.token
    if holds_lease:
        endpoint.lease_until = timezone.now() + LEASE
    goes_on = note_success(endpoint, delivery) if result.is_delivered else note_failure(endpoint, delivery, result)
    return goes_on and holds_lease and is_same_url


# The usual case in one statement: an event has arrived at an endpoint that did not fail before.
STORE_DELIVERED = """
WITH held AS (
    UPDATE payments_webhookendpoint SET lease_until = now() + %(lease)s
    WHERE id = %(endpoint)s AND lease_token = %(token)s AND url = %(url)s AND is_enabled AND failures = 0
    RETURNING id
), delivered AS (
    UPDATE payments_webhookdelivery AS delivery
    SET status = 'delivered', tries = tries + 1, delivered_at = clock_timestamp()
    FROM held WHERE delivery.id = %(delivery)s AND delivery.status = 'pending'
    RETURNING delivery.id
)
INSERT INTO payments_webhookattempt (delivery_id, outcome, status_code, milliseconds, answer)
SELECT id, %(outcome)s, %(status_code)s, %(milliseconds)s, %(answer)s FROM delivered
"""


def store(lease: Lease, delivery_id: int, result: Result) -> bool:
    """Store an attempt. Return True if the turn may continue."""
    if result.is_delivered and _store_delivered(lease, delivery_id, result):
        metrics.WEBHOOK_OUTCOME[result.outcome].inc()
        return True
    return store_result(lease, delivery_id, result)


def _store_delivered(lease: Lease, delivery_id: int, result: Result) -> bool:
    """Return False, and store nothing, if the case is not the usual one."""
    held = {"lease": LEASE, "endpoint": lease.endpoint_id, "token": lease.token, "url": lease.url}
    return execute(STORE_DELIVERED, held | {"delivery": delivery_id} | result.stored_fields()) > 0


def release(lease: Lease) -> None:
    """End a lease now: endpoints whose last turn ended earlier come first."""
    held = WebhookEndpoint.objects.filter(pk=lease.endpoint_id, lease_token=lease.token)
    held.update(lease_token=None, lease_until=Now())


def surrender(lease: Lease) -> None:
    """Give up a lease after an error of our own. The endpoint waits until the lease would have ended."""
    with suppress(*DATABASE_ERRORS):
        WebhookEndpoint.objects.filter(pk=lease.endpoint_id, lease_token=lease.token).update(lease_token=None)
