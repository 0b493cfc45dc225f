"""Log one line per transition, after its commit."""

import logging
from typing import Any
from uuid import UUID

from alerts_audit.payload import LONGEST_TEXT
from alerts_audit.projection.batch import Batch, Told

logger = logging.getLogger("alerts_audit")


def tell(batch: Batch) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    for told in batch.told:
        logger.info("alert_received", extra=log_fields(told))


def log_fields(told: Told) -> dict[str, Any]:
    cause, record = told.cause, told.record
    fields: dict[str, Any] = {
        "kind": "transition",
        "alertname": record.alertname,
        "severity": record.severity,
        "episode": str(UUID(record.key)),
        "from_state": told.from_state,
        "to_state": told.to_state,
        "input": cause.number,
    }
    if (arrival := cause.arrival) is not None:
        fields["source"] = arrival.source
        fields[f"{arrival.kind}_id"] = arrival.ref
        fields["sha256"] = bytes(arrival.sha256).hex()
        if arrival.trace_id is not None:
            fields["trace_id"] = arrival.trace_id
    if (reading := cause.reading) is not None:
        fields["receiver"] = reading.receiver[:LONGEST_TEXT]
        fields["status"] = reading.webhook.status[:LONGEST_TEXT]
        fields["group_key"] = reading.webhook.group_key[:LONGEST_TEXT]
    return fields
