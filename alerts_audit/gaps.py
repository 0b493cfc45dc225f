"""The only writer of gaps. A gap is opened once per reason and subject, and closed by another row."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from alerts_audit.models import Gap, OpenGap
from fintech.database.sql import fetch_all
from fintech.texts import is_blank

# An index entry must stay below 2,704 bytes, and a label has no limit.
MAX_SUBJECT = 500
# Rows per statement: well within statement_timeout.
BATCH_SIZE = 2000

# The unique constraint decides which process opens a gap; a second one writes nothing. Subjects are sorted, so that two
# processes that open the same gaps never deadlock.
OPEN = """
WITH wanted AS (
    SELECT DISTINCT ON (subject) * FROM jsonb_to_recordset(%(gaps)s::jsonb) AS gap(
        subject text, source text, labels jsonb, since timestamptz, details jsonb, delivery_id bigint,
        observation_id bigint
    ) ORDER BY subject
), opened AS (
    INSERT INTO alerts_audit_opengap (gap_id, reason, subject)
    SELECT nextval(pg_get_serial_sequence('alerts_audit_gap', 'id')), %(reason)s, subject FROM wanted ORDER BY subject
    ON CONFLICT (reason, subject) DO NOTHING
    RETURNING gap_id, subject
)
INSERT INTO alerts_audit_gap
    (id, reason, subject, source, labels, since, details, delivery_id, observation_id)
SELECT gap_id, %(reason)s, subject, source, labels, since, details, delivery_id, observation_id
FROM opened JOIN wanted USING (subject) ORDER BY gap_id
RETURNING id
"""

CLOSE = """
WITH wanted AS (
    SELECT * FROM jsonb_to_recordset(%(gaps)s::jsonb) AS gap(
        subject text, until timestamptz, details jsonb, delivery_id bigint, observation_id bigint
    )
), closed AS (
    DELETE FROM alerts_audit_opengap
    WHERE reason = %(reason)s AND subject IN (SELECT subject FROM wanted)
    RETURNING gap_id
)
INSERT INTO alerts_audit_gap
    (closes_id, reason, subject, source, labels, since, until, details, delivery_id, observation_id)
SELECT gap.id, gap.reason, gap.subject, gap.source, gap.labels, gap.since, greatest(wanted.until, gap.since),
    wanted.details, wanted.delivery_id, wanted.observation_id
FROM closed JOIN alerts_audit_gap AS gap ON gap.id = closed.gap_id JOIN wanted USING (subject) ORDER BY gap.id
RETURNING id
"""


class NotOpen(LookupError):
    """The gap does not exist, or is closed already."""


@dataclass(frozen=True)
class Opening:
    """A missing alert or period, from its start. `labels` are those of the alert; `details` any JSON."""

    subject: str
    since: datetime
    source: str | None = None
    labels: Mapping[str, str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    delivery_id: int | None = None
    observation_id: int | None = None


@dataclass(frozen=True)
class Closing:
    """The end of a gap, with the reason in `details`."""

    subject: str
    until: datetime
    details: Mapping[str, Any] = field(default_factory=dict)
    delivery_id: int | None = None
    observation_id: int | None = None


def open_gap(*, reason: str, **opening: Any) -> Gap | None:
    """Open a gap and return it; None if one is open for this reason and subject. Any process may call it.

    `opening` are the fields of an `Opening`.
    """
    return next(iter(open_gaps(reason, [Opening(**opening)])), None)


def close_gap(*, reason: str, **closing: Any) -> Gap | None:
    """Close a gap and return the closing row; None if none is open. `closing` are the fields of a `Closing`."""
    return next(iter(close_gaps(reason, [Closing(**closing)])), None)


def open_gaps(reason: str, openings: Sequence[Opening]) -> list[Gap]:
    """Open gaps in a few statements for any number. Return those that were not open yet."""
    return _write(OPEN, reason, openings)


def close_gaps(reason: str, closings: Sequence[Closing]) -> list[Gap]:
    """Close gaps in the same way. Return the rows that close them."""
    return _write(CLOSE, reason, closings)


def close_by_hand(*, gap_id: int, by: str, note: str) -> Gap:
    """Close a gap on behalf of a person: the only end of a gap about an alert that never arrived.

    If its cause continues, the worker opens another one. Raise NotOpen, and ValueError without a name and a note.
    """
    if is_blank(by) or is_blank(note):
        raise ValueError("Name the person who closes it, and the reason.")
    gap = Gap.objects.open().filter(pk=gap_id).first()
    details = {"how": "closed by a person", "by": by, "note": note}
    row = gap and close_gap(reason=gap.reason, subject=gap.subject, until=datetime.now(UTC), details=details)
    if row is None:
        raise NotOpen(f"No open gap has the number {gap_id}.")
    return row


def differences() -> list[str]:
    """Return how the small table of open gaps differs from the gaps themselves: empty, except after tampering."""
    closed = Gap.objects.filter(closes__isnull=False).values("closes")
    opened = Gap.objects.filter(closes=None).exclude(pk__in=closed).values_list("pk", "reason", "subject")
    truly_open = {pk: (reason, subject) for pk, reason, subject in opened}
    listed = {gap.pk: (gap.reason, gap.subject) for gap in OpenGap.objects.all()}
    return [
        *(f"gap {pk} is open, and not listed as open" for pk in sorted(truly_open.keys() - listed.keys())),
        *(f"gap {pk} is listed as open, and is not" for pk in sorted(listed.keys() - truly_open.keys())),
        # Under another name it could never be closed, or would prevent another gap from being opened.
        *(
            f"gap {pk} is about {truly_open[pk]}, and listed under {listed[pk]}"
            for pk in sorted(truly_open.keys() & listed.keys())
            if truly_open[pk] != listed[pk]
        ),
    ]


def _write(statement: str, reason: str, rows: Sequence[Opening] | Sequence[Closing]) -> list[Gap]:
    keys: list[int] = []
    for start in range(0, len(rows), BATCH_SIZE):
        content = orjson.dumps([_row(row) for row in rows[start : start + BATCH_SIZE]]).decode()
        keys += [key for (key,) in fetch_all(statement, {"reason": Gap.Reason(reason), "gaps": content})]
    return list(Gap.objects.filter(pk__in=keys).order_by("pk")) if keys else []


def _row(row: Opening | Closing) -> dict[str, Any]:
    return {name: _storable(value) for name, value in vars(row).items()} | {"subject": bounded(row.subject)}


def bounded(subject: str, longest: int = MAX_SUBJECT) -> str:
    """Return the subject as it is stored: a long one ends with its hash."""
    plain = subject.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(plain) <= longest:
        return plain
    return f"{plain[: longest - 65]} {hashlib.sha256(subject.encode()).hexdigest()}"


def alert_subject(cluster: str, labels: Mapping[str, str]) -> str:
    """Return the subject of a gap about an alert, with room for its start."""
    return bounded(f"{cluster} {orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS).decode()}", MAX_SUBJECT - 30)


def _storable(value: Any) -> Any:
    """Remove NUL, which labels may contain and PostgreSQL's text and jsonb refuse."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, Mapping):
        return {_storable(name): _storable(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value
