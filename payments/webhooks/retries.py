"""Retries of webhooks: their schedule, and what a success or a failure means for the next try.

An event that fails is tried again after growing pauses, and later ones overtake it. After several failures in a row the
endpoint itself pauses until the first of them is due, so that an endpoint that is down gets few requests, and after its
return all events in order.
"""

import random
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from payments.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from payments.webhooks.endpoints import disable
from payments.webhooks.results import Result

MINUTE, HOUR = 60, 3600
PAUSES = (5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
JITTER = 0.1  # a share of the pause, in both directions
PAUSED_AFTER_FAILURES = 3
DISABLED_AFTER = timedelta(days=5)


def note_success(endpoint: WebhookEndpoint, delivery: WebhookDelivery) -> bool:
    """Store that the event has arrived. Return True if the turn may continue."""
    was_paused = endpoint.failures >= PAUSED_AFTER_FAILURES
    delivery.tries += 1
    delivery.status, delivery.delivered_at = WebhookDelivery.Status.DELIVERED, timezone.now()
    delivery.save()
    endpoint.failures, endpoint.failing_since, endpoint.retry_at = 0, None, None
    endpoint.save()
    if was_paused:  # it is back: what failed meanwhile comes before what waited
        _tried(endpoint).update(due_at=Now())
    return not was_paused


def note_failure(endpoint: WebhookEndpoint, delivery: WebhookDelivery, result: Result) -> bool:
    """Store when the event is tried again, and pause or disable its endpoint. Return True if the turn may continue."""
    now = timezone.now()
    delivery.tries += 1
    delivery.due_at = now + timedelta(seconds=max(pause_after(delivery.tries), result.retry_after or 0))
    if delivery.tries > len(PAUSES):
        delivery.status = WebhookDelivery.Status.FAILED
    delivery.save()
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    endpoint.retry_at = None
    because = _reason_to_disable(endpoint, result, now)
    if because is None and delivery.status == WebhookDelivery.Status.FAILED and not _waiting(endpoint).exists():
        # Nothing tests the endpoint from now on, so a failure after a quiet time is the first one.
        endpoint.failures, endpoint.failing_since = 0, None
    elif endpoint.failures >= PAUSED_AFTER_FAILURES:
        first = _tried(endpoint).order_by("id").first()
        endpoint.retry_at = (first or delivery).due_at
    if result.retry_after is not None:  # it can lengthen a pause
        wanted = now + timedelta(seconds=result.retry_after)
        endpoint.retry_at = max(wanted, endpoint.retry_at or wanted)
    endpoint.save()
    if because is not None:
        disable(endpoint, because)
    return endpoint.is_enabled and endpoint.retry_at is None


def _reason_to_disable(
    endpoint: WebhookEndpoint, result: Result, now: datetime
) -> WebhookEndpoint.DisabledBecause | None:
    if result.outcome == WebhookAttempt.Outcome.GONE:
        return WebhookEndpoint.DisabledBecause.GONE
    assert endpoint.failing_since is not None  # after a failure
    return WebhookEndpoint.DisabledBecause.FAILING if now - endpoint.failing_since > DISABLED_AFTER else None


def _waiting(endpoint: WebhookEndpoint) -> QuerySet[WebhookDelivery]:
    return endpoint.deliveries.filter(status=WebhookDelivery.Status.PENDING)


def _tried(endpoint: WebhookEndpoint) -> QuerySet[WebhookDelivery]:
    """Return what failed and is to be tried again."""
    return _waiting(endpoint).filter(tries__gt=0)


def pause_after(tries: int) -> float:
    """Return the seconds until the next try, with jitter."""
    pause = PAUSES[min(tries, len(PAUSES)) - 1]
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
