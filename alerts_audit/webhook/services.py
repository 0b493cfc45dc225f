"""Store a delivery, log it and count it."""

import hashlib
import logging
from typing import Any

from alerts_audit import payload
from alerts_audit.models import Delivery
from alerts_audit.sources import metrics
from alerts_audit.webhook.recorder import recorder

logger = logging.getLogger("alerts_audit")

MAX_HEADER = 255


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

    `size` and `sha256` cover the whole if `body` is only its beginning. Raise SourceInactive, or psycopg.Error if it is
    not certain that it is stored.
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
    metrics.DELIVERIES.labels(source, "stored" if delivery.complete else "partial").inc()
    return delivery


def storable(header: str | None) -> str | None:
    """Return a header's value, bounded, and without NUL, which PostgreSQL's text refuses."""
    return header.replace("\0", "")[:MAX_HEADER] if header else None


def log_delivery(delivery: Delivery) -> payload.DecodedBody | None:
    """Log a stored delivery and count its alerts. Return its decoded body if it was kept as a whole.

    Never raise: the delivery is stored and answered.
    """
    try:
        decoded = payload.decode(bytes(delivery.body)) if delivery.complete else None
        content = decoded.payload if decoded is not None else None
        if content is not None:
            statuses = content.statuses()
            for status in metrics.STATUSES:
                metrics.ALERTS.labels(status).inc(statuses[status])
        logger.info("alert_received", extra=log_fields(delivery, content))
        return decoded
    except Exception:
        logger.exception("alert_summary_failed", extra={"delivery_id": delivery.pk})
        return None


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
            "receiver": content.receiver[: payload.MAX_TEXT],
            "status": content.status[: payload.MAX_TEXT],
            "group_key": content.group_key[: payload.MAX_TEXT],
            "alerts": len(content.alerts),
            "alertnames": content.alert_names(),
            "severities": content.severities(),
        }
    return fields
