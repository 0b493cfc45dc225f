"""Endpoints: create and change them, disable them, rotate their secrets."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.db.transaction import atomic
from django.utils import timezone
from psycopg.errors import UniqueViolation
from uuid_utils.compat import uuid7

from fintech.database.sql import execute
from fintech.secret_files import webhook_secret
from payments.errors import Conflict, InvalidRequest
from payments.models import WebhookDelivery, WebhookEndpoint, WebhookEvent, WebhookSecret
from payments.webhooks.addresses import check_url
from payments.webhooks.objects import ALL_TYPES, DISABLED_TYPE
from payments.webhooks.signing import decrypt, encrypt

logger = logging.getLogger("payments.webhooks")

MAX_ENDPOINTS = 16  # of one merchant
OVERLAP = timedelta(hours=24)  # how long the former secret stays valid
PART = 10_000  # deliveries that one statement gives up: well within statement_timeout


def check_input(url: str, event_types: Sequence[str], *, stored_url: str | None = None) -> None:
    """Raise InvalidRequest for a URL or an event type that cannot be used.

    A stored URL is not checked again: with one that an earlier release accepted, the endpoint can still be disabled.
    """
    try:
        if url != stored_url:
            check_url(url)
    except ValueError as error:
        raise InvalidRequest("invalid_url", f"The URL is wrong: {error}.", param="url") from None
    unknown = sorted(set(event_types) - set(ALL_TYPES))
    if unknown:
        detail = f"Unknown event type. The types are {', '.join(ALL_TYPES)}."
        raise InvalidRequest("unknown_event_type", detail, param="event_types")


def check_room(merchant_id: int) -> None:
    """Raise Conflict if the merchant has as many endpoints as it may."""
    if WebhookEndpoint.objects.filter(merchant_id=merchant_id).count() >= MAX_ENDPOINTS:
        raise Conflict("too_many_endpoints", f"A merchant has at most {MAX_ENDPOINTS} endpoints: change one of them.")


def check_unused(endpoint: WebhookEndpoint, url: str) -> None:
    """Raise Conflict if another endpoint of the merchant has this URL."""
    others = WebhookEndpoint.objects.filter(merchant_id=endpoint.merchant_id, url=url).exclude(pk=endpoint.pk)
    if others.exists():
        raise _taken()


def _taken() -> Conflict:
    return Conflict("endpoint_exists", "Another endpoint of the merchant has this URL.")


@atomic
def create_endpoint(
    *, merchant_id: int, url: str, event_types: Sequence[str] = (), description: str = "", is_enabled: bool = True
) -> tuple[WebhookEndpoint, str]:
    """Store an endpoint. Returns it and its secret, which is not shown again."""
    check_input(url, event_types)
    # Of one merchant at a time, so that the number is exact.
    execute("SELECT pg_advisory_xact_lock(hashtextextended('webhook endpoints', %s))", [merchant_id])
    check_room(merchant_id)
    endpoint = WebhookEndpoint(
        id=uuid7(),
        merchant_id=merchant_id,
        url=url,
        description=description,
        event_types=list(event_types),
        is_enabled=is_enabled,
        disabled_because=None if is_enabled else WebhookEndpoint.DisabledBecause.MERCHANT,
    )
    _save(endpoint, force_insert=True)
    endpoint.refresh_from_db()
    return endpoint, _add_secret(endpoint)


@atomic
def change_endpoint(endpoint: WebhookEndpoint, **changes: Any) -> WebhookEndpoint:
    """Change `url`, `event_types`, `description` or `is_enabled`. Enabling clears the former failures."""
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    event_types = changes.get("event_types", endpoint.event_types)
    check_input(changes.get("url", endpoint.url), event_types, stored_url=endpoint.url)
    is_enabled = changes.pop("is_enabled", endpoint.is_enabled)
    for name, value in changes.items():
        setattr(endpoint, name, value)
    if is_enabled and not endpoint.is_enabled:
        endpoint.is_enabled, endpoint.disabled_because = True, None
        endpoint.failures, endpoint.failing_since, endpoint.retry_at = 0, None, None
    _save(endpoint)
    if endpoint.is_enabled and not is_enabled:
        disable(endpoint, WebhookEndpoint.DisabledBecause.MERCHANT)
    return endpoint


@atomic
def disable(endpoint: WebhookEndpoint, because: WebhookEndpoint.DisabledBecause) -> None:
    """Stop sending to an endpoint, and announce it to the merchant's other endpoints.

    What waits for it is given up: a part now, and the rest by the worker, so that a backlog of any size can end.
    """
    endpoint.is_enabled, endpoint.disabled_because = False, because
    endpoint.save(update_fields=["is_enabled", "disabled_because"])
    _give_up_part(endpoint)
    event = store_event(endpoint, DISABLED_TYPE)
    wanted = Q(event_types=[]) | Q(event_types__contains=[DISABLED_TYPE])
    others = WebhookEndpoint.objects.filter(wanted, merchant_id=endpoint.merchant_id, is_enabled=True)
    WebhookDelivery.objects.bulk_create(WebhookDelivery(endpoint=other, event=event) for other in others)
    logger.warning("webhook_endpoint_disabled", extra={"endpoint": str(endpoint.pk), "because": str(because)})


@atomic
def give_up_waiting() -> int:
    """Give up a part of what waits at a disabled endpoint. Returns the number of its deliveries.

    It is the rest of a large backlog, or was queued by a transaction that still saw the endpoint enabled.
    """
    waiting = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), status=WebhookDelivery.Status.PENDING)
    disabled = WebhookEndpoint.objects.filter(Exists(waiting), is_enabled=False)
    # Locked, so that no one enables it meanwhile: what is queued from then on stays.
    endpoint = disabled.select_for_update(no_key=True, skip_locked=True).first()
    return 0 if endpoint is None else _give_up_part(endpoint)


def _give_up_part(endpoint: WebhookEndpoint) -> int:
    """Give up the oldest deliveries that wait for an endpoint, whose row the caller has locked."""
    waiting = endpoint.deliveries.filter(status=WebhookDelivery.Status.PENDING).order_by("id").values("pk")
    return WebhookDelivery.objects.filter(pk__in=waiting[:PART]).update(status=WebhookDelivery.Status.FAILED)


@atomic
def rotate_secret(endpoint: WebhookEndpoint) -> str:
    """Return a new secret. The newest former one stays valid for a day, older ones end now: two are valid."""
    WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    valid = list(_valid(endpoint))
    for position, former in enumerate(valid):
        former.expires_at = timezone.now() + (OVERLAP if position == 0 else timedelta())
        former.save(update_fields=["expires_at"])
    return _add_secret(endpoint)


def valid_secrets(endpoint: WebhookEndpoint) -> list[str]:
    """Return the secrets that sign now, newest first."""
    return [decrypt(bytes(secret.encrypted), endpoint.pk) for secret in _valid(endpoint)]


def store_event(endpoint: WebhookEndpoint, event_type: str) -> WebhookEvent:
    """Store an event about the endpoint. The caller queues it."""
    data = {
        "id": str(endpoint.pk),
        "url": endpoint.url,
        "enabled": endpoint.is_enabled,
        "disabled_because": endpoint.disabled_because,
    }
    return WebhookEvent.objects.create(id=uuid7(), merchant_id=endpoint.merchant_id, type=event_type, data=data)


def _valid(endpoint: WebhookEndpoint) -> QuerySet[WebhookSecret]:
    return endpoint.secrets.filter(Q(expires_at=None) | Q(expires_at__gt=Now())).order_by("-id")


def _add_secret(endpoint: WebhookEndpoint) -> str:
    secret = webhook_secret()
    WebhookSecret.objects.create(endpoint=endpoint, encrypted=encrypt(secret, endpoint.pk))
    return secret


def _save(endpoint: WebhookEndpoint, **options: Any) -> None:
    try:
        with atomic():
            endpoint.save(**options)
    except IntegrityError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise
        raise _taken() from None
