"""Log one line per transition, after its commit."""

import logging
from typing import Any
from uuid import UUID

from alerts_audit.payload import MAX_TEXT
from alerts_audit.projection.batch import Batch
from alerts_audit.projection.rows import TransitionRow

logger = logging.getLogger("alerts_audit")


def log_transitions(batch: Batch) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    for transition in batch.transitions:
        logger.info("alert_received", extra=log_fields(transition))


def log_fields(transition: TransitionRow) -> dict[str, Any]:
    cause, row = transition.cause, transition.row
    fields: dict[str, Any] = {
        "kind": "transition",
        "alertname": row.alertname,
        "severity": row.severity,
        "episode": str(UUID(row.key)),
        "from_state": transition.from_state,
        "to_state": transition.to_state,
        "input": cause.number,
    }
    if (evidence := cause.evidence) is not None:
        fields["source"] = evidence.source
        fields[f"{evidence.kind}_id"] = evidence.ref
        fields["sha256"] = bytes(evidence.sha256).hex()
        if evidence.trace_id is not None:
            fields["trace_id"] = evidence.trace_id
    if (update := cause.update) is not None:
        fields["receiver"] = update.receiver[:MAX_TEXT]
        fields["status"] = update.payload.status[:MAX_TEXT]
        fields["group_key"] = update.payload.group_key[:MAX_TEXT]
    return fields
