"""Compare the alerts that fired with those that arrived.

An alert that could have been sent and did not arrive within ALERT_GRACE_SECONDS opens a gap, which closes if it arrives
late. An alert that started and ended during an outage never arrives: its gap stays open until a person closes it.

Alertmanager takes precedence. Prometheus's ALERTS are used only for alerts that were not seen in Alertmanager, for
example alerts between two polls, or while Alertmanager was down.
"""

import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from alerts_audit import gaps
from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.observe import (
    OVERLAP,
    Snapshot,
    Watched,
    ask_alertmanager,
    ask_prometheus,
    next_begin,
    watched_sources,
)
from alerts_audit.completeness.sightings import AlertmanagerSightings, PrometheusSightings, Sighting
from alerts_audit.completeness.suppressions import close_unwatched, record_suppressed
from alerts_audit.identity import identify
from alerts_audit.models import Gap, Observation, Pending, Poll

logger = logging.getLogger("alerts_audit")

# Tolerated difference between the clocks of this host, the database and the monitoring.
CLOCK_SKEW = timedelta(seconds=5)
# A delivery that is not projected yet may contain the missing alert.
PROJECTION_SECONDS = timedelta(seconds=5)
BATCH_SIZE = 500
INEXACT_AT_ONCE = 50

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


class Comparison:
    """A comparison. One turn polls every source, then judges each cluster. The leading worker keeps it; a new leader
    catches up.
    """

    def __init__(self) -> None:
        self._alertmanager: dict[str, AlertmanagerSightings] = {}
        self._prometheus: dict[str, PrometheusSightings] = {}

    def turn(self) -> None:
        """Run one turn. Raise PollError at the end if a source did not answer; the others have been compared
        by then.
        """
        clusters: dict[str, list[Watched]] = defaultdict(list)
        for watched in watched_sources():
            clusters[watched.cluster].append(watched)
        errors: list[str] = []
        for cluster, members in clusters.items():
            snapshots = []
            for watched in members:
                for ask in (self._look, self._look_back):
                    try:
                        if snapshot := ask(watched):
                            snapshots.append((watched, snapshot))
                    except PollError as error:
                        errors.append(f"{watched.name}: {error}")
            if snapshots:
                record_suppressed(cluster, snapshots)
            self._judge(cluster, members)
        close_unwatched(clusters)
        if errors:
            raise PollError("; ".join(errors))

    def _look(self, watched: Watched) -> Snapshot | None:
        if watched.alertmanager is None:
            return None
        if watched.name not in self._alertmanager:
            self._alertmanager[watched.name] = recalled(watched)
        snapshot = ask_alertmanager(watched, watched.alertmanager)
        self._alertmanager[watched.name].saw(snapshot.at, snapshot.alerts, snapshot.observation_id)
        return snapshot

    def _look_back(self, watched: Watched) -> None:
        if not watched.prometheus_url:
            return
        first_time = watched.name not in self._prometheus
        for part in ask_prometheus(watched, again=grace() if first_time else timedelta()):
            self._prometheus.setdefault(watched.name, PrometheusSightings()).saw(
                part.begin,
                part.end,
                [(series.labels, series.samples) for series in part.firing],
                exact=part.exact,
                pause=timedelta(seconds=2 * part.evaluation_seconds + 1),
                observation_id=part.observation_id,
            )

    def _judge(self, cluster: str, members: list[Watched]) -> None:
        now = datetime.now(UTC)
        if Pending.objects.filter(kind="delivery", at__lt=now - PROJECTION_SECONDS).exists():
            return
        for watched in members:
            for sightings in (self._alertmanager.get(watched.name), self._prometheus.get(watched.name)):
                if sightings is None:
                    continue
                overdue = in_hand(sightings.overdue(now - grace()))
                missed = [sighting for sighting in missing(cluster, overdue) if not self._is_known(members, sighting)]
                open_missed(watched, missed, is_truncated(members))
                for sighting in overdue:
                    sighting.settled = True
                sightings.forget_settled()
        for watched in members:
            if watched.name in self._alertmanager:
                oldest = min(now - 3 * grace() - timedelta(minutes=10), prometheus_remembers_from(watched))
                self._alertmanager[watched.name].forget_known(oldest)
        close_arrived(cluster)

    def _is_known(self, members: list[Watched], sighting: Sighting) -> bool:
        """Return True if Prometheus only reported alerts that were seen in Alertmanager, whose own sighting counts."""
        if sighting.seen_by == Observation.Kind.ALERTMANAGER:
            return False
        held = [self._alertmanager[watched.name] for watched in members if watched.name in self._alertmanager]
        return any(
            sightings.knew(sighting.labels, sighting.first - CLOCK_SKEW, exact=sighting.exact) for sightings in held
        )


def in_hand(overdue: list[Sighting]) -> list[Sighting]:
    """Return the sightings to judge in this turn.

    A sighting with incomplete labels needs a statement of its own, so only some of these are judged in one turn.
    """
    inexact = [sighting for sighting in overdue if not sighting.exact]
    return [sighting for sighting in overdue if sighting.exact] + inexact[:INEXACT_AT_ONCE]


def grace() -> timedelta:
    return timedelta(seconds=settings.ALERT_GRACE_SECONDS)


def recalled(watched: Watched) -> AlertmanagerSightings:
    """Return the sightings that a previous worker may not have judged, from the stored observations.

    An observation is valid until the next one.
    """
    sightings = AlertmanagerSightings()
    kind = Observation.Kind.ALERTMANAGER
    poll = Poll.objects.filter(source=watched.name, kind=kind).first()
    if poll is None:
        return sightings
    stored = Observation.objects.filter(source=watched.name, kind=kind)
    begin = min(poll.until - 2 * grace(), prometheus_remembers_from(watched))
    oldest = stored.filter(observed_at__lt=begin).order_by("-pk").values_list("pk", flat=True).first()
    held: list[dict[str, Any]] = []
    observation = None
    for observation in stored.filter(pk__gte=oldest or 0).order_by("pk").iterator(20):
        sightings.stayed_suppressed(observation.observed_at, held)
        held = orjson.loads(bytes(observation.body))["alerts"]
        sightings.saw(observation.observed_at, held, observation.pk)
    if observation is not None:
        sightings.saw(poll.until, held, observation.pk)
    return sightings


def prometheus_remembers_from(watched: Watched) -> datetime:
    """Return the time from which Prometheus may report alerts in its next answer."""
    return next_begin(watched, grace(), now=datetime.now(UTC)) - OVERLAP - CLOCK_SKEW


# --- What never arrived --------------------------------------------------------------------------------------


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
        with connection.cursor() as cursor:
            cursor.execute(ARRIVED, values)
            arrived = {number for (number,) in cursor.fetchall()}
        found += [sighting for number, sighting in enumerate(part) if number not in arrived]
    return [sighting for sighting in found if sighting.exact or not is_contained(cluster, sighting)]


def is_contained(cluster: str, sighting: Sighting) -> bool:
    """Return True if an alert arrived that has these labels and others."""
    labels = orjson.dumps(sighting.labels).decode()
    times = {"first": sighting.first, "last": sighting.last, "skew": CLOCK_SKEW}
    values: dict[str, Any] = {"cluster": cluster, "labels": labels, **times}
    with connection.cursor() as cursor:
        cursor.execute(CONTAINED, values)
        return cursor.fetchone()[0]


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
    """Return the sightings that already have a gap, from a peer or a previous worker. A person may have closed it
    since.
    """
    found: set[int] = set()
    for start in range(0, len(sightings), BATCH_SIZE):
        wanted = [
            {"number": number, "subject": gaps.alert_subject(cluster, sighting.labels)}
            | {"first": sighting.first - CLOCK_SKEW, "last": sighting.last}
            for number, sighting in enumerate(sightings[start : start + BATCH_SIZE], start)
        ]
        with connection.cursor() as cursor:
            cursor.execute(RECORDED, {"reasons": [*map(str, NEVER_ARRIVED)], "wanted": orjson.dumps(wanted).decode()})
            found.update(number for (number,) in cursor.fetchall())
    return found


def is_truncated(members: list[Watched]) -> bool:
    """Return True if a delivery reports that alerts were cut off: then missing alerts have this reason."""
    names = [watched.name for watched in members]
    truncations = Gap.objects.open().filter(reason=Gap.Reason.TRUNCATED, source__in=names)
    return any("last_seen" not in details for details in truncations.values_list("details", flat=True))


def close_arrived(cluster: str) -> None:
    """Close the gaps of alerts that arrived late."""
    values: dict[str, Any] = {"cluster": cluster, "reasons": [*map(str, NEVER_ARRIVED)], "skew": CLOCK_SKEW}
    with connection.cursor() as cursor:
        cursor.execute(ARRIVED_LATE, values)
        late = cursor.fetchall()
    now = datetime.now(UTC)
    for reason in NEVER_ARRIVED:
        found = [subject for subject, of_reason in late if of_reason == reason]
        gaps.close_gaps(reason, [gaps.Closing(subject, now, {"how": "arrived late"}) for subject in found])
