"""Poll each source, and store the answer as evidence if it differs from the previous one.

Answers exclude fields that change while the alerts do not, so a quiet night adds no row. A change adds one of about 250
bytes per alert, which PostgreSQL compresses to a tenth.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import connection
from django.db.transaction import atomic
from prometheus_client import Counter

from alerts_audit.completeness.alertmanager import Alertmanager
from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.prometheus import Firing, Prometheus
from alerts_audit.models import Observation, Poll, Source
from alerts_audit.models.sources import DEFAULT_SOURCE

# Prometheus stores a rule's samples with the time at which the evaluation began.
OVERLAP = timedelta(seconds=60)
# The longest range of one query. After a pause a worker catches up in steps, up to Prometheus's retention by default.
MAX_RANGE = timedelta(minutes=10)
FURTHEST_BACK = timedelta(days=15)

POLL_ERRORS = Counter("alert_poll_errors_total", "Polls that a source did not answer.", ["source", "kind"])


@dataclass(frozen=True)
class Watched:
    """A source with at least one address to poll."""

    name: str
    cluster: str
    alertmanager: Alertmanager | None
    prometheus_url: str


@dataclass(frozen=True)
class Snapshot:
    """The state of an Alertmanager at one moment; `alerts` as in alertmanager.py."""

    at: datetime
    alerts: list[dict[str, Any]]
    observation_id: int


@dataclass(frozen=True)
class Range:
    """The firing alerts of a Prometheus in a range. An alert without a sample for longer than `pause` has ended.

    `exact`: the labels are those of the webhook; otherwise some may be missing.
    """

    begin: datetime
    end: datetime
    firing: list[Firing]
    pause: timedelta
    exact: bool
    observation_id: int


def watched_sources() -> list[Watched]:
    """Return the active sources in the order of their names."""
    found = []
    for source in Source.objects.filter(is_active=True).order_by("name"):
        alertmanager, prometheus = get_addresses(source)
        if alertmanager or prometheus:
            asked = Alertmanager(alertmanager) if alertmanager else None
            found.append(Watched(source.name, source.cluster, asked, prometheus))
            for kind in Observation.Kind.values:
                POLL_ERRORS.labels(source.name, kind)
    return found


def get_addresses(source: Source) -> tuple[str, str]:
    """Return the addresses of Alertmanager and Prometheus. Settings complete those of the default source."""
    default = source.name == DEFAULT_SOURCE
    return (
        source.alertmanager_url or (settings.ALERTMANAGER_URL if default else ""),
        source.prometheus_url or (settings.PROMETHEUS_URL if default else ""),
    )


def ask_alertmanager(watched: Watched, alertmanager: Alertmanager, unjudged_from: datetime | None) -> Snapshot:
    """Poll an Alertmanager. Raise PollError. `unjudged_from` as in `ask_prometheus`."""
    at = datetime.now(UTC)
    with counted(watched, Observation.Kind.ALERTMANAGER):
        alerts = alertmanager.alerts()
    state = {"unjudged_from": min(at, unjudged_from or at).isoformat()}
    observation = keep(watched, Observation.Kind.ALERTMANAGER, {"alerts": alerts}, until=at, state=state)
    return Snapshot(at, alerts, observation.pk)


def stored_unjudged_from(watched: Watched, kind: str) -> datetime | None:
    """Return the time before which all sightings of a source were judged, as the worker before stored it.

    Return None if it stored none.
    """
    poll = last_poll(watched, kind)
    return datetime.fromisoformat(poll.state["unjudged_from"]) if poll and "unjudged_from" in poll.state else None


def last_poll(watched: Watched, kind: str) -> Poll | None:
    return Poll.objects.filter(source=watched.name, kind=kind).first()


def ask_prometheus(
    watched: Watched, unjudged_from: datetime | None = None, *, again: timedelta | None = None
) -> Iterator[Range]:
    """Yield the alerts since the last successful poll, step by step. Raise PollError.

    Each step is yielded before the next one is requested, so a later failure does not lose it. The end of the poll
    moves before the alerts are judged, so `unjudged_from` is stored beside it: when the first unjudged sighting began.

    `again`: a new worker asks for this time before the last poll, too, and for all that was not judged.
    """
    end = datetime.now(UTC)
    poll = last_poll(watched, Observation.Kind.PROMETHEUS)
    until = poll.until if poll else end
    begin = until - again if poll and again else until
    prometheus = Prometheus(watched.prometheus_url, watched.alertmanager.url if watched.alertmanager else "")
    unjudged = min(unjudged_from, until - OVERLAP) if unjudged_from else begin - OVERLAP
    if again is not None and unjudged_from is not None:
        with counted(watched, Observation.Kind.PROMETHEUS):
            # A sample of this time shows that an alert began earlier, and was judged.
            begin = min(begin, unjudged - prometheus.pause)
    state = {"unjudged_from": unjudged.isoformat()}
    yield from _steps(watched, prometheus, max(begin, end - FURTHEST_BACK), end, state)


def _steps(
    watched: Watched, prometheus: Prometheus, begin: datetime, end: datetime, state: dict[str, Any]
) -> Iterator[Range]:
    while True:
        upto = min(end, begin + MAX_RANGE)
        with counted(watched, Observation.Kind.PROMETHEUS):
            firing = prometheus.firing(begin - OVERLAP, upto)
            pause, exact = prometheus.pause, prometheus.knows_all_labels
        alerts = sorted({canonical(series.labels) for series in firing})
        body = {"alerts": [{"labels": orjson.loads(labels)} for labels in alerts]}
        observation = keep(watched, Observation.Kind.PROMETHEUS, body, until=upto, state=state)
        yield Range(begin - OVERLAP, upto, firing, pause, exact, observation.pk)
        if upto == end:
            return
        begin = upto


class counted:
    """A request to a source: without a connection to the database, because the source may take seconds.

    Count a PollError by source and kind, and raise it again.
    """

    def __init__(self, watched: Watched, kind: str) -> None:
        self._labels = watched.name, kind

    def __enter__(self) -> None:
        connection.close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, PollError):
            POLL_ERRORS.labels(*self._labels).inc()


@atomic
def keep(
    watched: Watched, kind: str, content: dict[str, Any], *, until: datetime, state: dict[str, Any] | None = None
) -> Observation:
    """Return the observation with this content: the newest of its source and kind, or a new one if that differs."""
    body = canonical({"cluster": watched.cluster, **content})
    digest = hashlib.sha256(body).digest()
    newest = Observation.objects.filter(source=watched.name, kind=kind).defer("body").order_by("-pk").first()
    if newest is None or bytes(newest.sha256) != digest:
        newest = Observation.objects.create(source=watched.name, kind=kind, body=body, sha256=digest)
    Poll.objects.update_or_create(source=watched.name, kind=kind, defaults={"until": until, "state": state or {}})
    return newest


def canonical(content: Any) -> bytes:
    """Return the same bytes for the same content: JSON with sorted keys and no spaces."""
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
