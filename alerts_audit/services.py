"""Every write of the alert trail."""

import hashlib
import logging
from typing import Any

from alerts_audit import metrics, payload
from alerts_audit.models import Delivery
from alerts_audit.recorder import recorder

logger = logging.getLogger("alerts_audit")

LONGEST_HEADER = 255


def record_delivery(
    *,
    source: str,
    body: bytes,
    content_type: str | None,
    content_encoding: str | None,
    request_id: str | None,
) -> Delivery:
    """Keep what was sent, whatever it is; look inside only after it is committed.

    Raises psycopg.Error if it could not be stored.
    """
    delivery = Delivery(
        source=source,
        body=body,
        sha256=hashlib.sha256(body).digest(),
        size=len(body),
        content_type=storable(content_type),
        content_encoding=storable(content_encoding),
        request_id=request_id,
    )
    recorder.insert(delivery)
    metrics.DELIVERIES.labels("stored").inc()
    logger.info("alert_received", extra=log_fields(delivery))
    return delivery


def storable(header: str | None) -> str | None:
    """A header's value, bounded, and without NUL, which PostgreSQL's text refuses."""
    return header.replace("\0", "")[:LONGEST_HEADER] if header else None


def log_fields(delivery: Delivery) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "delivery_id": delivery.pk,
        "sha256": delivery.sha256.hex(),
        "size": delivery.size,
        "readable": False,
    }
    if content := payload.read(bytes(delivery.body)):
        fields |= {
            "readable": True,
            "receiver": content.receiver[: payload.LONGEST_TEXT],
            "status": content.status[: payload.LONGEST_TEXT],
            "group_key": content.group_key[: payload.LONGEST_TEXT],
            "alerts": len(content.alerts),
            "alertnames": content.alert_names(),
        }
    return fields
