"""All writes of the webhook: a delivery, and its log line and counters."""

import hashlib
import logging
from typing import Any

from alerts_audit import payload
from alerts_audit.gaps import open_cut_off
from alerts_audit.models import Delivery
from alerts_audit.webhook import metrics
from alerts_audit.webhook.recorder import recorder

logger = logging.getLogger("alerts_audit")

LONGEST_HEADER = 255


def record_delivery(
    *,
    source: str,
    body: bytes,
    content_type: str | None = None,
    content_encoding: str | None = None,
    request_id: str | None = None,
    trace_id: str | None = None,
    size: int | None = None,
    sha256: bytes | None = None,
) -> Delivery:
    """Store what was sent, without parsing it.

    `size` and `sha256` cover the whole if `body` is only its beginning. Raise psycopg.Error if it is not certain that
    it is stored.
    """
    size = len(body) if size is None else size
    is_part = size > len(body)
    kept_sha256 = hashlib.sha256(body).digest() if is_part or sha256 is None else None
    delivery = Delivery(
        source=source,
        body=body,
        sha256=sha256 or kept_sha256,
        size=size,
        kept_sha256=kept_sha256 if is_part else None,
        content_type=storable(content_type),
        content_encoding=storable(content_encoding),
        request_id=request_id,
        trace_id=trace_id,
    )
    recorder.insert(delivery)
    try:
        count(delivery)
    except Exception:  # the delivery is stored, so the answer is 200
        logger.exception("alert_not_counted", extra={"delivery_id": delivery.pk})
    return delivery


def storable(header: str | None) -> str | None:
    """Return a header's value, bounded, and without NUL, which PostgreSQL's text refuses."""
    return header.replace("\0", "")[:LONGEST_HEADER] if header else None


def count(delivery: Delivery) -> None:
    metrics.DELIVERIES.labels(delivery.source, "stored" if delivery.complete else "partial").inc()
    if not delivery.complete:
        open_cut_off(
            delivery_id=delivery.pk,
            source=delivery.source,
            since=delivery.received_at,
            size=delivery.size,
            kept=len(delivery.body),
        )


def tell_of(delivery: Delivery) -> None:
    """Log and count a delivery. Never fails, because the delivery is stored and answered."""
    try:
        content = payload.read(bytes(delivery.body)) if delivery.complete else None
        if content is not None:
            statuses = content.statuses()
            for status in metrics.STATUSES:
                metrics.ALERTS.labels(status).inc(statuses[status])
        logger.info("alert_received", extra=log_fields(delivery, content))
    except Exception:
        logger.exception("alert_not_told", extra={"delivery_id": delivery.pk})


def log_fields(delivery: Delivery, content: payload.Payload | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "kind": "delivery",
        "source": delivery.source,
        "delivery_id": delivery.pk,
        "sha256": delivery.sha256.hex(),
        "size": delivery.size,
        "complete": delivery.complete,
        "readable": content is not None,
    }
    if content is not None:
        fields |= {
            "receiver": content.receiver[: payload.LONGEST_TEXT],
            "status": content.status[: payload.LONGEST_TEXT],
            "group_key": content.group_key[: payload.LONGEST_TEXT],
            "alerts": len(content.alerts),
            "alertnames": content.alert_names(),
            "severities": content.severities(),
        }
    return fields
