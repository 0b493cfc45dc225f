"""Failures that are only counted elsewhere: failed notifications of Alertmanager, and callers refused by the webhook.

A counter that rises opens a gap. The gap closes when the counter has been constant for ALERT_QUIET_SECONDS. A counter
that fell was reset, so its whole value is new.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.transaction import atomic

from alerts_audit import gaps
from alerts_audit.completeness.http import PollError, fetch
from alerts_audit.completeness.observe import Watched, counted, keep, watched_sources
from alerts_audit.completeness.prometheus import Prometheus
from alerts_audit.completeness.side_by_side import SideBySide
from alerts_audit.models import Delivery, Gap, Observation, Poll, Source
from fintech.jobs import share_out
from fintech.telemetry.host_registry import exporters, live_epochs
from fintech.telemetry.scrapes import read_samples

DOOR = "POST /alert"
# A source delivers again if it sent one of this many newest deliveries.
RECENT = 1000
HOSTS_AT_ONCE = 16


class FailedNotifications:
    """Counts the failed notifications of every source."""

    def __init__(self) -> None:
        self._sources = SideBySide("notifications", count_failed)

    def turn(self) -> None:
        """Count those of each source beside the others. Raise PollError at the end if one did not answer."""
        self._sources.turn({watched.name: watched for watched in watched_sources()})


def count_failed(watched: Watched) -> None:
    """Count the failed notifications of a source. Raise PollError."""
    try:
        with counted(watched, Observation.Kind.NOTIFICATIONS):
            failed = (watched.alertmanager or Prometheus(watched.prometheus_url)).failed()
    except PollError as error:
        raise PollError(f"{watched.name}: {error}") from error
    note_failed(watched, failed)


def note_failed(watched: Watched, failed: Mapping[str, int]) -> None:
    """Compare the counts with the previous ones, and open or close the source's gap."""
    now, kind = datetime.now(UTC), Observation.Kind.NOTIFICATIONS
    before = Poll.objects.filter(source=watched.name, kind=kind).first()
    new = rises(before.state["failed"], failed) if before else {}
    with atomic():
        last = last_rise(before, now, bool(new))
        observation = keep(watched, kind, {"failed": failed}, until=now, state={"failed": failed, **last})
        if new:
            assert before is not None
            gaps.open_gap(
                reason=Gap.Reason.NOTIFICATIONS,
                subject=watched.name,
                since=before.until,
                source=watched.name,
                details={"cluster": watched.cluster, "failed": new},
                observation_id=observation.pk,
            )
        elif is_quiet(last, now) and delivers_again(watched, moment(last["rose_after"])):
            gaps.close_gap(
                reason=Gap.Reason.NOTIFICATIONS,
                subject=watched.name,
                until=moment(last["rose_before"]),
                details={"failed": failed},
                observation_id=observation.pk,
            )


def count_refused() -> None:
    """Count the 401 answers of the webhook over all web processes. Raise PollError."""
    now = datetime.now(UTC)
    kind = Gap.Reason.UNAUTHORIZED
    before = Poll.objects.filter(source="", kind=kind).first()
    hosts = {str(one.epoch) for one in exporters("web")} | {DOOR, "refused"}
    known = {host: count for host, count in before.state["failed"].items() if host in hosts} if before else {}
    refused = {**known, **refused_by_host()}
    # A count of the time before several hosts cannot be compared.
    new = {} if "refused" in known else total(rises(known, refused) if before else {})
    refused.pop("refused", None)
    with atomic():
        last = last_rise(before, now, bool(new))
        Poll.objects.update_or_create(
            source="", kind=kind, defaults={"until": now, "state": {"failed": refused, **last}}
        )
        if new:
            assert before is not None
            gaps.open_gap(reason=kind, subject=DOOR, since=before.until, details=new)
        elif is_quiet(last, now):
            gaps.close_gap(reason=kind, subject=DOOR, until=moment(last["rose_before"]), details=total(refused))


def refused_by_host() -> dict[str, int]:
    """Return the counts of all web hosts by epoch, whose counters begin at 0. Raise PollError if none answers."""
    live = live_epochs()
    registered = {str(one.epoch): one.url for one in exporters("web") if one.epoch in live}
    urls = registered or {DOOR: settings.WEB_METRICS_URL}
    counts: dict[str, int] = {}
    errors: list[str] = []

    def read(host: str) -> None:
        try:
            counts[host] = refused_at_the_door(fetch(urls[host], "").decode())
        except PollError as error:
            errors.append(str(error))

    with ThreadPoolExecutor(min(HOSTS_AT_ONCE, len(urls)), thread_name_prefix="refusals") as threads:
        share_out(threads, read, list(urls))
    if errors and not counts:
        raise PollError("; ".join(sorted(errors)))
    return counts


def total(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of the counts as the details of a gap; nothing without a count."""
    return {"refused": sum(counts.values())} if counts else {}


def refused_at_the_door(text: str) -> int:
    return sum(
        int(sample.value)
        for sample in read_samples(text, ("alert_deliveries_total",))
        if sample.labels.get("outcome") == "unauthorized"
    )


def rises(before: Mapping[str, float], now: Mapping[str, int]) -> dict[str, int]:
    """Return by how much each counter rose, without those that did not. An old stored count may be 5.0."""
    changes = {name: value - (int(old) if (old := before.get(name, 0)) <= value else 0) for name, value in now.items()}
    return {name: change for name, change in changes.items() if change > 0}


def last_rise(before: Poll | None, now: datetime, rose: bool) -> dict[str, str]:
    """Return the two times between which the counters last rose, as far as known."""
    if before is None:
        return {"rose_after": now.isoformat(), "rose_before": now.isoformat()}
    if rose:
        return {"rose_after": before.until.isoformat(), "rose_before": now.isoformat()}
    return {name: before.state[name] for name in ("rose_after", "rose_before")}


def is_quiet(last: Mapping[str, str], now: datetime) -> bool:
    return now - moment(last["rose_before"]) >= timedelta(seconds=settings.ALERT_QUIET_SECONDS)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def delivers_again(watched: Watched, since: datetime) -> bool:
    """Return True if the source or one of its peers delivers: only one of the peers sends an alert."""
    peers = {watched.name, *Source.objects.filter(cluster=watched.cluster).values_list("name", flat=True)}
    newest = Delivery.objects.order_by("-pk").values_list("source", "received_at")[:RECENT]
    return any(source in peers and received_at > since for source, received_at in newest)
