"""The heartbeat: the alert that always fires.

If it stops arriving, no alert gets through, and no other part of the monitoring can report it.

Only one of the peers of a cluster sends an alert, so a beat of any peer counts for all. A heartbeat is expected after
it was seen once. Only deliveries count, because an alert that Alertmanager has may still not reach the trail.
"""

import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from alerts_audit import gaps, payload
from alerts_audit.models import Delivery, Gap, Pending, Poll, Source
from alerts_audit.models.projection import MAX_ALERTNAMES
from fintech.database.sql import fetch_all, fetch_one

KIND = Gap.Reason.HEARTBEAT
# Deliveries read per turn, and how far back the first turn looks.
BATCH_SIZE = 5_000

# By the numbers of the projection, which are dense, so a late commit is not skipped.
NEW_BEATS = """
SELECT delivery.id, delivery.source, delivery.received_at, envelope.alertnames::text
FROM alerts_audit_envelope AS envelope JOIN alerts_audit_delivery AS delivery ON delivery.id = envelope.delivery_id
WHERE envelope.input_number > %s AND envelope.input_number <= %s AND envelope.status = 'firing'
    AND (envelope.alertnames ?| %s OR jsonb_array_length(envelope.alertnames) >= %s)
ORDER BY envelope.input_number
"""


class Heartbeats:
    """The newest beat of each source, stored in one row so that a restart loses none."""

    def __init__(self) -> None:
        self._ages_lock = threading.Lock()
        self._beats: dict[str, datetime] = {}  # source -> the newest beat of its cluster
        self._limits: dict[str, float] = {}  # source -> the age that its heartbeat may have

    def ages(self) -> dict[str, float]:
        """Return the seconds since the newest beat of each source with a heartbeat."""
        now = datetime.now(UTC)
        with self._ages_lock:
            return {source: max(0.0, (now - beat).total_seconds()) for source, beat in self._beats.items()}

    def limits(self) -> dict[str, float]:
        """Return the age in seconds that the heartbeat of each of these sources may have."""
        with self._ages_lock:
            return self._limits

    def forget(self) -> None:
        """Forget the beats of an earlier leadership: newer ones were read by another worker."""
        with self._ages_lock:
            self._beats, self._limits = {}, {}

    def turn(self) -> None:
        """Read the new beats, then open and close gaps."""
        sources = list(Source.objects.filter(is_active=True))
        own = newest_beats(sources)
        shared = {source.name: shared_beat(source, sources, own) for source in sources if source.heartbeat_seconds}
        beats = {name: beat for name, beat in shared.items() if beat is not None}
        limits = {source.name: float(source.heartbeat_seconds) for source in sources if source.name in beats}
        with self._ages_lock:
            self._beats, self._limits = beats, limits
        now = datetime.now(UTC)
        lagging = Pending.objects.late_deliveries(now).exists()
        for source in sources:
            judge(source, beats.get(source.name), now, lagging=lagging)
        retire(sources)


def newest_beats(sources: Iterable[Source]) -> dict[str, datetime]:
    """Return the newest beat by source, after the deliveries since the last turn."""
    names = {source.name: source.heartbeat_alert for source in sources}
    poll = Poll.objects.filter(source="", kind=KIND).first()
    (newest,) = fetch_one("SELECT coalesce(max(input_number), 0) FROM alerts_audit_envelope")
    state: dict[str, Any] = poll.state if poll else {"upto": max(0, newest - BATCH_SIZE), "beats": {}}
    beats, upto = dict(state["beats"]), state["upto"]  # source -> alert and time: another alert is another heartbeat
    while upto < newest:
        begin, upto = upto, min(newest, upto + BATCH_SIZE)
        for source, received_at in beats_between(begin, upto, names):
            beats[source] = [names[source], received_at.isoformat()]
    state = {"upto": upto, "beats": beats}
    if poll is None or state != poll.state:
        Poll.objects.update_or_create(source="", kind=KIND, defaults={"until": datetime.now(UTC), "state": state})
    return {source: datetime.fromisoformat(beat) for source, (name, beat) in beats.items() if names.get(source) == name}


def beats_between(begin: int, upto: int, names: dict[str, str]) -> list[tuple[str, datetime]]:
    """Return source and time of each delivery in this range that contains its source's heartbeat, in order."""
    rows = fetch_all(NEW_BEATS, [begin, upto, sorted(set(names.values())), MAX_ALERTNAMES])
    found = []
    for delivery_id, source, received_at, content in rows:
        wanted, alertnames = names.get(source), orjson.loads(content)
        if wanted in alertnames or (len(alertnames) >= MAX_ALERTNAMES and is_inside(delivery_id, wanted)):
            found.append((source, received_at))
    return found


def is_inside(delivery_id: int, alertname: str | None) -> bool:
    """Search a delivery with more names than an envelope lists."""
    body = Delivery.objects.values_list("body", flat=True).get(pk=delivery_id)
    content = payload.read(bytes(body))
    return content is not None and any(alert.labels.get("alertname") == alertname for alert in content.alerts)


def shared_beat(source: Source, sources: Iterable[Source], own: dict[str, datetime]) -> datetime | None:
    """Return the newest beat of the source and its peers."""
    peers = [
        own[peer.name]
        for peer in sources
        if peer.cluster == source.cluster and peer.heartbeat_alert == source.heartbeat_alert and peer.name in own
    ]
    return max(peers, default=None)


def judge(source: Source, beat: datetime | None, now: datetime, *, lagging: bool) -> None:
    if beat is None:
        return
    if now - beat <= timedelta(seconds=source.heartbeat_seconds):
        gaps.close_gap(reason=KIND, subject=source.name, until=beat, details={"alertname": source.heartbeat_alert})
    elif not lagging:
        details = {"alertname": source.heartbeat_alert, "expected_every_seconds": source.heartbeat_seconds}
        gaps.open_gap(reason=KIND, subject=source.name, since=beat, source=source.name, details=details)


def retire(sources: Iterable[Source]) -> None:
    """Close the gaps of sources that are inactive or no longer have a heartbeat."""
    expected = [source.name for source in sources if source.heartbeat_seconds]
    for subject in (
        Gap.objects.open().filter(reason=KIND).exclude(subject__in=expected).values_list("subject", flat=True)
    ):
        gaps.close_gap(reason=KIND, subject=subject, until=datetime.now(UTC), details={"how": "no longer expected"})
