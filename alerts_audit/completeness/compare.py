"""Compare the alerts that fired with those that arrived.

An alert that could have been sent and did not arrive within ALERT_GRACE_SECONDS opens a gap, which closes if it arrives
late. An alert that started and ended during an outage never arrives: its gap stays open until a person closes it.

Alertmanager takes precedence. Prometheus's ALERTS are used only for alerts that were not seen in Alertmanager, for
example alerts between two polls, or while Alertmanager was down.
"""

import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
from django.conf import settings

from alerts_audit.completeness import observe
from alerts_audit.completeness.arrivals import CLOCK_SKEW, close_arrived, is_truncated, missing, open_missed
from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.side_by_side import SideBySide
from alerts_audit.completeness.sightings import AlertmanagerSightings, PrometheusSightings, Sighting
from alerts_audit.completeness.suppressions import close_unwatched, record_suppressed
from alerts_audit.models import Observation, Pending

logger = logging.getLogger("alerts_audit")

INEXACT_AT_ONCE = 50

Members = list[observe.Watched]


class Comparison:
    """Polls every source in each turn, then judges each cluster. A new leader catches up."""

    def __init__(self) -> None:
        self._alertmanager: dict[str, AlertmanagerSightings] = {}
        self._prometheus: dict[str, PrometheusSightings] = {}
        self._clusters = SideBySide[Members]("compare", self._compare)
        self._leadership = 0
        self._asked_in: dict[str, int] = {}  # by source: the leadership in which it was last asked

    def forget(self) -> None:
        """Begin as a new worker does: another one may have led in between.

        A comparison of the time before may still run, so each one forgets for itself when it begins.
        """
        self._leadership += 1

    def turn(self) -> None:
        """Run one turn: compare the clusters beside each other. Raise PollError after it if a source did not answer."""
        clusters: dict[str, Members] = defaultdict(list)
        for watched in observe.watched_sources():
            clusters[watched.cluster].append(watched)
        try:
            self._clusters.turn(clusters)
        finally:
            close_unwatched(clusters)

    def _compare(self, members: Members) -> None:
        """Poll the members of a cluster, and judge it. Raise PollError after it if one of them did not answer."""
        cluster = members[0].cluster
        snapshots, errors = [], []
        for watched in members:
            self._forget_earlier(watched.name)
            for ask in (partial(self._look, members), self._look_back):
                try:
                    if snapshot := ask(watched):
                        snapshots.append((watched, snapshot))
                except PollError as error:
                    errors.append(f"{watched.name}: {error}")
        if snapshots:
            record_suppressed(cluster, snapshots)
        self._judge(cluster, members)
        if errors:
            raise PollError("; ".join(errors))

    def _forget_earlier(self, name: str) -> None:
        if self._asked_in.get(name) != self._leadership:
            self._asked_in[name] = self._leadership
            self._alertmanager.pop(name, None)
            self._prometheus.pop(name, None)

    def _look(self, members: Members, watched: observe.Watched) -> observe.Snapshot | None:
        if watched.alertmanager is None:
            return None
        sightings = self._alertmanager.get(watched.name)
        if sightings is None:
            sightings = self._alertmanager[watched.name] = recalled(watched, members)
        snapshot = observe.ask_alertmanager(watched, watched.alertmanager, sightings.unjudged_from())
        sightings.saw(snapshot.at, snapshot.alerts, snapshot.observation_id)
        return snapshot

    def _look_back(self, watched: observe.Watched) -> None:
        if not watched.prometheus_url:
            return
        sightings = self._prometheus.get(watched.name)
        if sightings is not None:
            ranges = observe.ask_prometheus(watched, sightings.unjudged_from())
        else:
            unjudged_from = observe.stored_unjudged_from(watched, Observation.Kind.PROMETHEUS)
            sightings = PrometheusSightings(unjudged_from)
            ranges = observe.ask_prometheus(watched, unjudged_from, again=grace())
        for part in ranges:
            self._prometheus[watched.name] = sightings
            sightings.saw(
                part.begin,
                part.end,
                [(series.labels, series.samples) for series in part.firing],
                exact=part.exact,
                pause=part.pause,
                observation_id=part.observation_id,
            )

    def _judge(self, cluster: str, members: Members) -> None:
        now = datetime.now(UTC)
        if Pending.objects.late_deliveries(now).exists():
            return
        for watched in members:
            for sightings in (self._alertmanager.get(watched.name), self._prometheus.get(watched.name)):
                if sightings is None:
                    continue
                overdue = due_now(sightings.overdue(now - grace()))
                missed = [sighting for sighting in missing(cluster, overdue) if not self._is_known(members, sighting)]
                open_missed(watched, missed, is_truncated(members))
                for sighting in overdue:
                    sighting.settled = True
                sightings.forget_settled()
        oldest = min(now - 3 * grace() - timedelta(minutes=10), prometheus_remembers_from(members))
        for watched in members:
            if watched.name in self._alertmanager:
                self._alertmanager[watched.name].forget_held(oldest)
        close_arrived(cluster)

    def _is_known(self, members: Members, sighting: Sighting) -> bool:
        """Return True if Alertmanager had the alert in the period that Prometheus reports: its own sighting counts."""
        if sighting.seen_by == Observation.Kind.ALERTMANAGER:
            return False
        held = [self._alertmanager[watched.name] for watched in members if watched.name in self._alertmanager]
        first, last = sighting.first - CLOCK_SKEW, sighting.last + CLOCK_SKEW
        return any(sightings.knew(sighting.labels, first, last, exact=sighting.exact) for sightings in held)


def due_now(overdue: list[Sighting]) -> list[Sighting]:
    """Return the sightings to judge in this turn.

    A sighting with incomplete labels needs a statement of its own, so only some of these are judged in one turn.
    """
    inexact = [sighting for sighting in overdue if not sighting.exact]
    return [sighting for sighting in overdue if sighting.exact] + inexact[:INEXACT_AT_ONCE]


def grace() -> timedelta:
    return timedelta(seconds=settings.ALERT_GRACE_SECONDS)


def recalled(watched: observe.Watched, members: Members) -> AlertmanagerSightings:
    """Return the sightings that a previous worker may not have judged, from the stored observations.

    An observation is valid until the next one. `members` are the sources of its cluster.
    """
    sightings = AlertmanagerSightings()
    kind = Observation.Kind.ALERTMANAGER
    poll = observe.last_poll(watched, kind)
    if poll is None:
        return sightings
    stored = Observation.objects.filter(source=watched.name, kind=kind)
    unjudged_from = observe.stored_unjudged_from(watched, kind)
    judged_before = (unjudged_from or poll.until) - CLOCK_SKEW
    begin = min(poll.until - 2 * grace(), judged_before, prometheus_remembers_from(members))
    oldest = stored.filter(observed_at__lt=begin).order_by("-pk").values_list("pk", flat=True).first()
    held: list[dict[str, Any]] = []
    observation = None
    for observation in stored.filter(pk__gte=oldest or 0).order_by("pk").iterator(20):
        sightings.stayed_suppressed(observation.observed_at, held)
        held = orjson.loads(bytes(observation.body))["alerts"]
        sightings.saw(observation.observed_at, held, observation.pk)
    if observation is not None:
        sightings.saw(poll.until, held, observation.pk)
    if unjudged_from is not None:
        # A person may have closed the gap of an alert that goes on firing, whose first observation is not recalled.
        sightings.settle(judged_before)
    return sightings


def prometheus_remembers_from(members: Members) -> datetime:
    """Return the time from which a Prometheus may report alerts in its next answer that are not judged.

    The Alertmanager of any peer may have had them.
    """
    return min(map(_remembers_from, members))


def _remembers_from(watched: observe.Watched) -> datetime:
    now, kind = datetime.now(UTC), Observation.Kind.PROMETHEUS
    poll = observe.last_poll(watched, kind)
    until = poll.until if poll else now
    unjudged_from = observe.stored_unjudged_from(watched, kind) or until
    return max(min(until - grace(), unjudged_from), now - observe.FURTHEST_BACK) - observe.OVERLAP - CLOCK_SKEW
