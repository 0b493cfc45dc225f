"""Asking each source what fires, and keeping the answer as evidence when it differs from the one before.

Answers hold nothing that changes while alerts go on as they are, so a quiet night adds no row, and a change adds one of
about 250 bytes an alert, which PostgreSQL compresses to a tenth.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db.transaction import atomic
from prometheus_client import Counter

from alerts_audit.completeness.clients import Alertmanager, Firing, PollError, Prometheus
from alerts_audit.models import Observation, Poll, Source
from alerts_audit.models.sources import DEFAULT_SOURCE

# Prometheus writes a rule's samples under the time at which it began to evaluate.
OVERLAP = timedelta(seconds=60)
# One query asks for no more than this; a worker that was away catches up in steps, as far back as Prometheus remembers
# if nobody tells it otherwise.
LONGEST_RANGE = timedelta(minutes=10)
FURTHEST_BACK = timedelta(days=15)

POLL_ERRORS = Counter("alert_poll_errors_total", "Questions to a source that it did not answer.", ["source", "kind"])


@dataclass(frozen=True)
class Watched:
    """A source with at least one address to ask."""

    name: str
    cluster: str
    alertmanager: Alertmanager | None
    prometheus_url: str


@dataclass(frozen=True)
class Snapshot:
    """What an Alertmanager held at one moment; `alerts` as in clients.py."""

    at: datetime
    alerts: list[dict[str, Any]]
    observation_id: int


@dataclass(frozen=True)
class Range:
    """What a Prometheus saw firing in a range; the same alert has a sample every `evaluation_seconds`.

    `exact`: the labels are those of the webhook; otherwise they may lack some.
    """

    begin: datetime
    end: datetime
    firing: list[Firing]
    evaluation_seconds: float
    exact: bool
    observation_id: int


def watched_sources() -> list[Watched]:
    """The active ones, in the order of their names."""
    found = []
    for source in Source.objects.filter(is_active=True).order_by("name"):
        alertmanager, prometheus = addresses_of(source)
        if alertmanager or prometheus:
            asked = Alertmanager(alertmanager) if alertmanager else None
            found.append(Watched(source.name, source.cluster, asked, prometheus))
            for kind in Observation.Kind.values:
                POLL_ERRORS.labels(source.name, kind)
    return found


def addresses_of(source: Source) -> tuple[str, str]:
    """Its Alertmanager's and its Prometheus's; settings say where the default source's are, if its row does not."""
    default = source.name == DEFAULT_SOURCE
    return (
        source.alertmanager_url or (settings.ALERTMANAGER_URL if default else ""),
        source.prometheus_url or (settings.PROMETHEUS_URL if default else ""),
    )


def ask_alertmanager(watched: Watched, alertmanager: Alertmanager) -> Snapshot:
    """What it holds now. Raises PollError."""
    at = datetime.now(UTC)
    with counted(watched, Observation.Kind.ALERTMANAGER):
        alerts = alertmanager.alerts()
    observation = keep(watched, Observation.Kind.ALERTMANAGER, {"alerts": alerts}, until=at)
    return Snapshot(at, alerts, observation.pk)


def ask_prometheus(watched: Watched, *, again: timedelta = timedelta()) -> Iterator[Range]:
    """What fired since it was last asked, and the time `again` before that, step by step. Raises PollError.

    Each step is asked for once: whoever comes here uses it before asking for the next, which may fail.
    """
    end = datetime.now(UTC)
    poll = Poll.objects.filter(source=watched.name, kind=Observation.Kind.PROMETHEUS).first()
    begin = max(poll.until - again, end - FURTHEST_BACK) if poll else end
    prometheus = Prometheus(watched.prometheus_url, watched.alertmanager.url if watched.alertmanager else "")
    while True:
        upto = min(end, begin + LONGEST_RANGE)
        with counted(watched, Observation.Kind.PROMETHEUS):
            firing = prometheus.firing(begin - OVERLAP, upto)
            seconds, exact = prometheus.evaluation_seconds, prometheus.knows_all_labels
        alerts = sorted({canonical(series.labels) for series in firing})
        body = {"alerts": [{"labels": orjson.loads(labels)} for labels in alerts]}
        observation = keep(watched, Observation.Kind.PROMETHEUS, body, until=upto)
        yield Range(begin - OVERLAP, upto, firing, seconds, exact, observation.pk)
        if upto == end:
            return
        begin = upto


class counted:
    """Counts a PollError by source and kind, and lets it pass."""

    def __init__(self, watched: Watched, kind: str) -> None:
        self._labels = watched.name, kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, PollError):
            POLL_ERRORS.labels(*self._labels).inc()


@atomic
def keep(
    watched: Watched, kind: str, content: dict[str, Any], *, until: datetime, state: dict[str, Any] | None = None
) -> Observation:
    """The observation with this content: the newest of its source and kind, or a new one if that differs."""
    body = canonical({"cluster": watched.cluster, **content})
    digest = hashlib.sha256(body).digest()
    newest = Observation.objects.filter(source=watched.name, kind=kind).defer("body").order_by("-pk").first()
    if newest is None or bytes(newest.sha256) != digest:
        newest = Observation.objects.create(source=watched.name, kind=kind, body=body, sha256=digest)
    Poll.objects.update_or_create(source=watched.name, kind=kind, defaults={"until": until, "state": state or {}})
    return newest


def canonical(content: Any) -> bytes:
    """The same bytes for the same content: JSON with sorted keys and no spaces."""
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
