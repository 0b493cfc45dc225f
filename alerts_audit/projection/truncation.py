"""Open gaps for alerts that a delivery reports as cut off, or that our size limit cut off. Not used in a rebuild."""

import hashlib

from alerts_audit.gaps import close_gap, open_cut_off, open_gap
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
            open_group_gap(evidence, content, subject)
            known.add(subject)
        elif subject in known:
            known.remove(subject)
            close_gap(reason=Gap.Reason.TRUNCATED, subject=subject, until=evidence.at, delivery_id=evidence.ref)
    for evidence, _ in batch.used:
        if evidence.is_part:
            open_cut_off(
                delivery_id=evidence.ref,
                source=evidence.source,
                since=evidence.at,
                size=evidence.size,
                kept=len(evidence.body),
            )


def group_subject(evidence: Evidence, content: Update) -> str:
    """Return the subject of a gap: the group that a source sends to a receiver. Its key may have any length."""
    key = f"{content.receiver}\n{content.payload.group_key}"
    return f"group {hashlib.sha256(key.encode()).hexdigest()[:32]} of {evidence.source}"


def open_group_gap(evidence: Evidence, content: Update, subject: str) -> None:
    """Open a gap for alerts cut off by Alertmanager's `max_alerts`, because it never sends them."""
    open_gap(
        reason=Gap.Reason.TRUNCATED,
        subject=subject,
        since=evidence.at,
        source=evidence.source,
        details={
            "left_out": content.truncated,
            "receiver": content.receiver[:MAX_DETAIL],
            "group_key": content.payload.group_key[:MAX_DETAIL],
        },
        delivery_id=evidence.ref,
    )
