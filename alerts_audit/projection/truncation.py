"""Open gaps for alerts that a delivery reports as cut off, or that our size limit cut off. Not used in a rebuild."""

import hashlib
from typing import Any

from alerts_audit.gaps import close_gap, open_gap
from alerts_audit.models import Gap
from alerts_audit.projection.batch import Batch
from alerts_audit.projection.decoding import Update
from alerts_audit.projection.rows import Evidence
from alerts_audit.projection.store import Connection

MAX_DETAIL = 500
OPEN = "SELECT subject FROM alerts_audit_opengap WHERE reason = %s AND subject = ANY(%s)"


def update_truncation_gaps(connection: Connection, batch: Batch) -> None:
    """Open the gaps before the commit of the batch: after a crash the delivery is pending again."""
    readable = [(evidence, content) for evidence, content in batch.used if isinstance(content, Update)]
    subjects = [group_subject(evidence, content) for evidence, content in readable]
    rows = connection.execute(OPEN, [Gap.Reason.TRUNCATED.value, subjects], prepare=True)
    known = {subject for (subject,) in rows}
    for (evidence, content), subject in zip(readable, subjects, strict=True):
        if content.truncated:
            # Alertmanager's `max_alerts` cut them off, and it never sends them.
            open_truncated(evidence, subject, group_details(content))
            known.add(subject)
        elif subject in known:
            known.remove(subject)
            close_gap(reason=Gap.Reason.TRUNCATED, subject=subject, until=evidence.at, delivery_id=evidence.ref)
    for evidence, _ in batch.used:
        if evidence.is_part:
            # It was stored in part, and the content of the rest is unknown.
            details = {"size": evidence.size, "kept": len(evidence.body)}
            open_truncated(evidence, f"delivery {evidence.ref}", details)


def group_subject(evidence: Evidence, content: Update) -> str:
    """Return the subject of a gap: the group that a source sends to a receiver. Its key may have any length."""
    key = f"{content.receiver}\n{content.payload.group_key}"
    return f"group {hashlib.sha256(key.encode()).hexdigest()[:32]} of {evidence.source}"


def group_details(content: Update) -> dict[str, Any]:
    receiver, group_key = content.receiver[:MAX_DETAIL], content.payload.group_key[:MAX_DETAIL]
    return {"left_out": content.truncated, "receiver": receiver, "group_key": group_key}


def open_truncated(evidence: Evidence, subject: str, details: dict[str, Any]) -> None:
    open_gap(
        reason=Gap.Reason.TRUNCATED,
        subject=subject,
        since=evidence.at,
        source=evidence.source,
        details=details,
        delivery_id=evidence.ref,
    )
