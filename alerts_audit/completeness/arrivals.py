"""Find the sightings whose alert has not arrived, open gaps for them, and close those of alerts that arrive late."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from alerts_audit import gaps
from alerts_audit.completeness.observe import Watched
from alerts_audit.completeness.sightings import Sighting
from alerts_audit.identity import identify
from alerts_audit.models import Gap
from fintech.database.sql import fetch_all, fetch_one

logger = logging.getLogger("alerts_audit")

# Tolerated difference between the clocks of this host, the database and the monitoring.
CLOCK_SKEW = timedelta(seconds=5)
BATCH_SIZE = 500

NEVER_ARRIVED = (Gap.Reason.OUTAGE, Gap.Reason.TRUNCATED)

# An episode covers a period if it began before the period ended, and had not ended before the period began.
COVERS = """episode.starts_at <= wanted.last + %(skew)s
    AND (episode.closed_at IS NULL OR episode.closed_at >= wanted.first - %(skew)s)"""
ALIKE = f"""EXISTS (
    SELECT FROM alerts_audit_identity AS identity
    JOIN alerts_audit_episode AS episode ON episode.identity_id = identity.id
    WHERE identity.sha256 = decode(wanted.identity, 'hex') AND {COVERS}
)"""
ARRIVED = f"""
SELECT number FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted(
    number int, identity text, first timestamptz, last timestamptz
) WHERE {ALIKE}
"""  # noqa: S608 - texts of our own, here and below
ARRIVED_LATE = f"""
SELECT subject, reason FROM (
    SELECT gap.subject, gap.reason, gap.details ->> 'identity' AS identity,
        (gap.details ->> 'first_seen')::timestamptz AS first, (gap.details ->> 'last_seen')::timestamptz AS last
    FROM alerts_audit_opengap AS listed JOIN alerts_audit_gap AS gap ON gap.id = listed.gap_id
    WHERE listed.reason = ANY(%(reasons)s) AND gap.details ->> 'cluster' = %(cluster)s AND gap.details ? 'last_seen'
) AS wanted WHERE {ALIKE}
"""  # noqa: S608 - of our own names
# For labels that may be incomplete. Identities first, because PostgreSQL would otherwise scan all of them instead of
# using the index.
CONTAINED = f"""
WITH alike AS MATERIALIZED (
    SELECT id FROM alerts_audit_identity WHERE cluster = %(cluster)s AND labels @> %(labels)s::jsonb
), wanted AS (
    SELECT %(first)s::timestamptz AS first, %(last)s::timestamptz AS last
)
SELECT EXISTS (
    SELECT FROM wanted, alike JOIN alerts_audit_episode AS episode ON episode.identity_id = alike.id WHERE {COVERS}
)
"""  # noqa: S608 - of our own names
# The subject of a gap is the alert and its start. This finds it by the index, for any start.
RECORDED = """
SELECT wanted.number FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted(
    number int, subject text, first timestamptz, last timestamptz
) WHERE EXISTS (
    SELECT FROM alerts_audit_gap AS gap
    WHERE gap.reason = ANY(%(reasons)s) AND gap.closes_id IS NULL AND gap.subject >= wanted.subject
        AND gap.subject < wanted.subject || chr(1114111) AND starts_with(gap.subject, wanted.subject)
        AND gap.since <= wanted.last AND (gap.details ->> 'last_seen')::timestamptz >= wanted.first
)
"""


def missing(cluster: str, sightings: list[Sighting]) -> list[Sighting]:
    """Return the sightings without an arrived alert."""
    found = []
    for start in range(0, len(sightings), BATCH_SIZE):
        part = sightings[start : start + BATCH_SIZE]
        wanted = [
            {"number": number, "identity": identify(cluster, sighting.labels).hex()}
            | {"first": sighting.first, "last": sighting.last}
            for number, sighting in enumerate(part)
        ]
        values: dict[str, Any] = {"skew": CLOCK_SKEW, "wanted": orjson.dumps(wanted).decode()}
        arrived = {number for (number,) in fetch_all(ARRIVED, values)}
        found += [sighting for number, sighting in enumerate(part) if number not in arrived]
    return [sighting for sighting in found if sighting.exact or not is_contained(cluster, sighting)]


def is_contained(cluster: str, sighting: Sighting) -> bool:
    """Return True if an alert arrived that has these labels and others."""
    labels = orjson.dumps(sighting.labels).decode()
    times = {"first": sighting.first, "last": sighting.last, "skew": CLOCK_SKEW}
    values: dict[str, Any] = {"cluster": cluster, "labels": labels, **times}
    return fetch_one(CONTAINED, values)[0]


def open_missed(watched: Watched, missed: list[Sighting], truncated: bool) -> None:
    """Open a gap for each, unless there is a gap, open or closed, about this period."""
    reason = Gap.Reason.TRUNCATED if truncated else Gap.Reason.OUTAGE
    known = recorded(watched.cluster, missed)
    openings = [
        gaps.Opening(
            subject=f"{gaps.alert_subject(watched.cluster, sighting.labels)} {sighting.since:%Y-%m-%dT%H:%M:%SZ}",
            since=sighting.since,
            source=watched.name,
            labels=sighting.labels,
            details={
                "cluster": watched.cluster,
                "identity": identify(watched.cluster, sighting.labels).hex(),
                "seen_by": sighting.seen_by,
                "first_seen": sighting.first.isoformat(),
                "last_seen": sighting.last.isoformat(),
                "ended": sighting.ended,
            },
            observation_id=sighting.observation_id,
        )
        for number, sighting in enumerate(missed)
        if number not in known
    ]
    for gap in gaps.open_gaps(reason, openings):
        logger.error("alert_never_arrived", extra={"gap": gap.pk, "reason": reason, "labels": gap.labels})


def recorded(cluster: str, sightings: list[Sighting]) -> set[int]:
    """Return the sightings that already have a gap, open or closed, from a peer or a previous worker."""
    found: set[int] = set()
    for start in range(0, len(sightings), BATCH_SIZE):
        wanted = [
            {"number": number, "subject": gaps.alert_subject(cluster, sighting.labels)}
            | {"first": sighting.first - CLOCK_SKEW, "last": sighting.last}
            for number, sighting in enumerate(sightings[start : start + BATCH_SIZE], start)
        ]
        values: dict[str, Any] = {"reasons": [*map(str, NEVER_ARRIVED)], "wanted": orjson.dumps(wanted).decode()}
        found.update(number for (number,) in fetch_all(RECORDED, values))
    return found


def is_truncated(members: list[Watched]) -> bool:
    """Return True if a delivery reports that alerts were cut off: then missing alerts have this reason."""
    names = [watched.name for watched in members]
    truncations = Gap.objects.open().filter(reason=Gap.Reason.TRUNCATED, source__in=names)
    return any("last_seen" not in details for details in truncations.values_list("details", flat=True))


def close_arrived(cluster: str) -> None:
    """Close the gaps of alerts that arrived late."""
    values: dict[str, Any] = {"cluster": cluster, "reasons": [*map(str, NEVER_ARRIVED)], "skew": CLOCK_SKEW}
    late = fetch_all(ARRIVED_LATE, values)
    now = datetime.now(UTC)
    for reason in NEVER_ARRIVED:
        found = [subject for subject, of_reason in late if of_reason == reason]
        gaps.close_gaps(reason, [gaps.Closing(subject, now, {"how": "arrived late"}) for subject in found])
