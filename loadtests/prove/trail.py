"""Compare the alerts that fired in Prometheus with the trail, which must have each: as an episode, or as a gap.

The comparison uses Prometheus's series ALERTS and the rows of the trail, but not the platform's own comparison.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loadtests.drill.lab import Drill
from loadtests.drill.monitoring import ask

# Samples that are further apart belong to two firings: there is one for each second.
PAUSE = timedelta(seconds=2)
# Tolerated difference between the times of Prometheus, Alertmanager and the database.
SKEW = timedelta(seconds=5)
OPEN_GAPS = """
SELECT gap.reason, gap.subject, gap.details::text, gap.reason = 'outage' AND gap.details ->> 'ended' = 'true'
FROM alerts_audit_opengap AS listed JOIN alerts_audit_gap AS gap ON gap.id = listed.gap_id
"""
RECORDED = """
SELECT identity.labels, episode.starts_at, coalesce(episode.closed_at, now())
FROM alerts_audit_episode AS episode JOIN alerts_audit_identity AS identity ON identity.id = episode.identity_id
UNION ALL
SELECT gap.labels, gap.since, coalesce(closing.until, now())
FROM alerts_audit_gap AS gap LEFT JOIN alerts_audit_gap AS closing ON closing.closes_id = gap.id
WHERE gap.closes_id IS NULL AND gap.labels ? 'alertname'
"""


@dataclass(frozen=True)
class Period:
    """A period in which an alert fired, or for which the trail has it."""

    labels: Mapping[str, str]
    first: datetime
    last: datetime

    def covers(self, other: "Period") -> bool:
        """Return True if this is the record of the other. Prometheus may add labels to an alert that it sends."""
        same = other.labels.items() <= self.labels.items()
        return same and self.first <= other.last + SKEW and self.last >= other.first - SKEW


def firings(drill: Drill, begin: float, end: float) -> list[Period]:
    """Return the periods in which alerts fired in Prometheus between these two Unix times."""
    words = {"query": 'ALERTS{alertstate="firing"}', "start": begin, "end": end, "step": 1}
    series = ask(drill.monitoring.prometheus, "query_range", **words)["result"]
    return [period for one in series for period in periods(labels_of(one["metric"]), one["values"])]


def labels_of(series: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of the alert of a series of ALERTS."""
    return {name: value for name, value in series.items() if name not in ("__name__", "alertstate")}


def periods(labels: Mapping[str, str], samples: list[tuple[float, str]]) -> Iterator[Period]:
    """Yield the periods of an alert's series: a long pause between two samples ends one."""
    times = [datetime.fromtimestamp(moment, UTC) for moment, _ in samples]
    first = last = times[0]
    for moment in times[1:]:
        if moment - last > PAUSE:
            yield Period(labels, first, last)
            first = moment
        last = moment
    yield Period(labels, first, last)


def unrecorded(drill: Drill, fired: Iterable[Period]) -> list[Period]:
    """Return the firings that the trail does not have."""
    recorded = [Period(*row) for row in drill.own.query(RECORDED)]
    return [period for period in fired if not any(one.covers(period) for one in recorded)]


@dataclass(frozen=True)
class OpenGaps:
    """The open gaps: of alerts that ended before they could arrive, whose gaps only a person closes; and the others."""

    never_arrived: list[str]
    others: list[str]


def open_gaps(drill: Drill) -> OpenGaps:
    found = OpenGaps([], [])
    for reason, subject, details, ended in drill.own.query(OPEN_GAPS):
        (found.never_arrived if ended else found.others).append(f"{reason}: {subject} {details}")
    return found
