"""Open gaps for alerts that a delivery reports as cut off, or that our size limit cut off. Not used in a rebuild."""

import hashlib

from alerts_audit.gaps import close_gap, open_cut_off, open_gap
from alerts_audit.models import Gap
from alerts_audit.projection.batch import Arrival, Batch
from alerts_audit.projection.decoding import Reading
from alerts_audit.projection.store import Connection

LONGEST_DETAIL = 500
OPEN = "SELECT subject FROM alerts_audit_opengap WHERE reason = %s AND subject = ANY(%s)"


def look_after(connection: Connection, batch: Batch) -> None:
    """Open the gaps before the batch is committed: after a crash the delivery is still pending, and a gap opens only
    once.
    """
    readable = [(arrival, content) for arrival, content in batch.used if isinstance(content, Reading)]
    subjects = [group(arrival, content) for arrival, content in readable]
    rows = connection.execute(OPEN, [Gap.Reason.TRUNCATED.value, subjects], prepare=True)
    known = {subject for (subject,) in rows}
    for (arrival, content), subject in zip(readable, subjects, strict=True):
        if content.truncated:
            open_left_out(arrival, content, subject)
            known.add(subject)
        elif subject in known:
            known.remove(subject)
            close_gap(reason=Gap.Reason.TRUNCATED, subject=subject, until=arrival.at, delivery_id=arrival.ref)
    for arrival, _ in batch.used:
        if arrival.is_part:
            open_cut_off(
                delivery_id=arrival.ref,
                source=arrival.source,
                since=arrival.at,
                size=arrival.size,
                kept=len(arrival.body),
            )


def group(arrival: Arrival, content: Reading) -> str:
    """Return the subject of a gap: the group that a source sends to a receiver. Its key may have any length."""
    words = f"{content.receiver}\n{content.webhook.group_key}"
    return f"group {hashlib.sha256(words.encode()).hexdigest()[:32]} of {arrival.source}"


def open_left_out(arrival: Arrival, content: Reading, subject: str) -> None:
    """Open a gap for alerts cut off by Alertmanager's `max_alerts`, because it never sends them."""
    open_gap(
        reason=Gap.Reason.TRUNCATED,
        subject=subject,
        since=arrival.at,
        source=arrival.source,
        details={
            "left_out": content.truncated,
            "receiver": content.receiver[:LONGEST_DETAIL],
            "group_key": content.webhook.group_key[:LONGEST_DETAIL],
        },
        delivery_id=arrival.ref,
    )
