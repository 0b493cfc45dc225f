"""Decide what the next update of an alert means for its episode. Pure: no clock, no database.

The inputs are an update by a source about one identity (`AlertUpdate`), the result of a poll of Alertmanager
(`PollResult`), or the passing of time (`Tick`). The outputs are `Step`s: the latest episode as it is now, or a new one,
and the transition if its state changed. docs/alert-projection.md has the table of cases.

One source reports in order; two peers of a cluster report the same alert, each at its own pace. So the previous reports
are stored by source, and a peer that lags behind cannot undo the report of another.
"""

from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec

FIRING: Final = "firing"
RESOLVED: Final = "resolved"
SUPERSEDED: Final = "superseded"
STALE: Final = "stale"
UNKNOWN: Final = "unknown"

LEGAL: Final = frozenset(
    {
        (None, FIRING),
        (None, RESOLVED),  # it was over at the first report
        *((FIRING, end) for end in (RESOLVED, SUPERSEDED, STALE, UNKNOWN)),
        (STALE, RESOLVED),  # the end was reported late
        (UNKNOWN, RESOLVED),
    }
)

# Replicas of Prometheus evaluate at different times: two peers may report a start or end that differs by this much.
PEER_SKEW: Final = timedelta(seconds=60)
# A "firing" that repeats an ended episode comes from a peer that lags behind, for this long after the end,
LAGGING: Final = timedelta(minutes=10)
# and until the same source repeats it this much later. Earlier, it is one delivery that was sent twice.
AGAIN: Final = timedelta(seconds=20)


class PeerState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The reports of one source about one episode."""

    fired: bool = False
    ended: bool = False
    ends_at: datetime | None = None
    doubted_at: datetime | None = None  # it reported "firing" after the end, and may only lag behind


class Memory(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The state against which later updates are compared. Stored with the episode, as JSON."""

    newest_start: datetime | None = None  # of the reports about this episode
    peers: dict[str, PeerState] = msgspec.field(default_factory=dict, name="told")
    # Start and end times of the previous episode, used to attribute late notifications to it.
    previous_start: datetime | None = None
    previous_ends: dict[str, datetime] = {}  # by source
    # By source: since when its Alertmanager has lacked the alert, or by what it is suppressed.
    absent: dict[str, datetime] = {}
    suppressed: dict[str, list[str]] = {}


class Episode(msgspec.Struct, frozen=True, gc=False):
    state: str
    starts_at: datetime
    ends_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None
    last_seen_at: datetime
    memory: Memory

    @property
    def is_open(self) -> bool:
        return self.state == FIRING


class AlertUpdate(msgspec.Struct, frozen=True, gc=False):
    """An alert of a delivery. Impossible times are None."""

    source: str
    at: datetime
    firing: bool
    starts_at: datetime | None
    ends_at: datetime | None


class PollResult(msgspec.Struct, frozen=True, gc=False):
    """An identity's alert in one Alertmanager when it was polled for all its alerts."""

    source: str
    at: datetime
    known: bool
    starts_at: datetime | None = None
    suppressed_by: list[str] = []


class Tick(msgspec.Struct, frozen=True, gc=False):
    """The passing of time, and the polls of Alertmanager about this identity since."""

    at: datetime
    stale_after: timedelta
    unknown_after: timedelta
    # When an Alertmanager of the cluster was last seen to have it.
    known_at: datetime | None = None
    # The period in which each of them was seen to lack it.
    absent_since: datetime | None = None
    absent_until: datetime | None = None


class Step(msgspec.Struct, frozen=True, gc=False):
    episode: Episode
    begins: bool = False
    from_state: str | None = None
    to_state: str | None = None  # None: the state is unchanged
    note: str | None = None


# gc=False on all of these: they never form a cycle, and thousands of them would trigger the collector again and again.

T = TypeVar("T")
replace = msgspec.structs.replace

# --- What a source says --------------------------------------------------------------------------------------


def on_alert(latest: Episode | None, update: AlertUpdate) -> list[Step]:
    """Return the steps for the identity with this latest episode; none if the update is about an earlier episode."""
    if latest is None:
        return [begin(update)]
    if is_newer(latest, update):
        note = None if update.firing else "its firing never arrived"
        return [*supersede(latest, update), begin(update, after=latest, note=note)]
    if update.firing:
        return on_firing(latest, update)
    return on_resolved(latest, update)


def begin(update: AlertUpdate, *, after: Episode | None = None, note: str | None = None) -> Step:
    """Begin a new episode, open or already over."""
    starts_at = update.starts_at or update.ends_at or update.at
    peer = PeerState(fired=update.firing, ended=not update.firing, ends_at=update.ends_at)
    memory = Memory(newest_start=update.starts_at, peers={update.source: peer}, **_before(after, starts_at))
    state = FIRING if update.firing else RESOLVED
    closed_at = None if update.firing else update.at
    episode = Episode(state, starts_at, update.ends_at, update.at, closed_at, update.at, memory)
    if after is None and not update.firing:
        note = "its firing never arrived"
    return Step(episode, True, None, state, note)


def _before(after: Episode | None, starts_at: datetime) -> dict[str, Any]:
    """Return the data of the previous episode that the new one must keep. Both may begin at the same time."""
    if after is None:
        return {}
    newest = after.memory.newest_start
    ends = {source: peer.ends_at for source, peer in after.memory.peers.items()}
    return {
        "previous_start": newest if newest is not None and newest < starts_at else None,
        "previous_ends": {source: end for source, end in ends.items() if end is not None and end > starts_at},
    }


def is_newer(latest: Episode, update: AlertUpdate) -> bool:
    """Return True if the update is about an episode that began after the latest."""
    peer = latest.memory.peers.get(update.source)
    if update.starts_at is None or latest.memory.newest_start is None:
        return False
    margin = PEER_SKEW if peer is None else timedelta(0)
    if update.starts_at > latest.memory.newest_start + margin:
        return True
    if latest.state != RESOLVED or latest.ends_at is None:
        return False
    if update.firing:
        return update.starts_at >= latest.ends_at
    # The same start, another end, from a source that reported the first end: it fired again without a report.
    return peer is not None and _is_after(update.ends_at, peer.ends_at)


def _is_after(later: datetime | None, earlier: datetime | None) -> bool:
    return later is not None and earlier is not None and later > earlier + PEER_SKEW


def supersede(latest: Episode, update: AlertUpdate) -> list[Step]:
    """End an open episode because the next one began."""
    if not latest.is_open:
        return []
    ended = replace(latest, state=SUPERSEDED, closed_at=not_before(latest, update.at))
    return [Step(ended, False, FIRING, SUPERSEDED, "it began anew, and its end was not told")]


def on_firing(latest: Episode, update: AlertUpdate) -> list[Step]:
    peer = latest.memory.peers.get(update.source, PeerState())
    if latest.is_open:
        return [Step(repeat_firing(latest, update, replace(peer, fired=True)))]
    if latest.state != RESOLVED:
        return [begin(update, after=latest, note="heard of again")]
    if peer.fired and peer.ended:
        return [begin(update, after=latest, note="fires again, with the same start")]
    if peer.doubted_at is not None and update.at - peer.doubted_at >= AGAIN:
        return [begin(update, after=latest, note="one peer goes on saying that it fires")]
    if latest.closed_at is not None and update.at - latest.closed_at > LAGGING:
        return [begin(update, after=latest, note="fires long after its end was told")]
    doubt = replace(peer, doubted_at=peer.doubted_at or update.at)
    return [Step(remember(latest, update, doubt))]


def on_resolved(latest: Episode, update: AlertUpdate) -> list[Step]:
    if is_about_previous_episode(latest, update):
        return []
    peer = latest.memory.peers.get(update.source, PeerState())
    fired = peer.fired or peer.doubted_at is not None
    episode = remember(latest, update, PeerState(fired=fired, ended=True, ends_at=update.ends_at))
    if latest.state == RESOLVED:
        return [Step(replace(episode, ends_at=latest.ends_at or update.ends_at))]
    note = None if latest.is_open else "its end was told late"
    ended = replace(episode, state=RESOLVED, ends_at=update.ends_at, closed_at=not_before(latest, update.at))
    return [Step(ended, False, latest.state, RESOLVED, note)]


def is_about_previous_episode(latest: Episode, update: AlertUpdate) -> bool:
    """Return True if an end belongs to an episode before the latest."""
    if update.ends_at is None:
        return False
    if update.ends_at < latest.starts_at:
        return update.starts_at is None or update.starts_at < update.ends_at
    memory = latest.memory
    if update.source in memory.previous_ends:
        return update.ends_at <= memory.previous_ends[update.source]
    if not memory.previous_ends or {source for source, peer in memory.peers.items() if peer.fired} == {update.source}:
        return False  # only this peer reported this episode, so it can end it
    return update.ends_at <= max(memory.previous_ends.values()) + PEER_SKEW


def repeat_firing(latest: Episode, update: AlertUpdate, peer: PeerState) -> Episode:
    """Count a repeated firing. Its start may move backwards, but not into the previous episode."""
    episode = remember(latest, update, peer)
    start, memory = update.starts_at, episode.memory
    if start is None or start == latest.starts_at:
        return episode
    if memory.previous_start is not None and start <= memory.previous_start:
        return episode
    if memory.newest_start is None or start > memory.newest_start:
        episode = replace(episode, memory=replace(memory, newest_start=start))
    return replace(episode, starts_at=min(start, latest.starts_at))


def remember(latest: Episode, update: AlertUpdate, peer: PeerState) -> Episode:
    """Return the episode with this update. A repeated update leaves the memory unchanged."""
    memory = latest.memory
    if memory.peers.get(update.source) != peer:
        memory = replace(memory, peers={**memory.peers, update.source: peer})
    if update.firing and update.source in memory.absent:
        memory = replace(memory, absent=without(memory.absent, update.source))
    return replace(latest, last_seen_at=not_before(latest, update.at), memory=memory)


def not_before(latest: Episode, at: datetime) -> datetime:
    """Keep an episode's time from running backwards, because a delivery may be numbered after a later one."""
    return max(at, latest.last_seen_at)


def without(mapping: dict[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in mapping.items() if key != name}


# --- What Alertmanager is seen to know -------------------------------------------------------------------------


def on_poll(latest: Episode, poll: PollResult) -> list[Step]:
    if latest.is_open:
        return on_poll_of_open(latest, poll)
    doubts = [peer.doubted_at for peer in latest.memory.peers.values() if peer.doubted_at is not None]
    if poll.known and not poll.suppressed_by and any(doubt < poll.at for doubt in doubts):
        update = AlertUpdate(poll.source, poll.at, True, poll.starts_at, None)
        return [begin(update, after=latest, note="Alertmanager still has it")]
    return []


def on_poll_of_open(latest: Episode, poll: PollResult) -> list[Step]:
    """Return no step without a change, because every poll repeats all firing alerts."""
    memory = latest.memory
    if not poll.known:
        if poll.at <= latest.last_seen_at or poll.source in memory.absent:
            return []
        memory = replace(memory, absent={**memory.absent, poll.source: poll.at})
        return [Step(replace(latest, memory=memory))]
    if poll.source in memory.absent:
        memory = replace(memory, absent=without(memory.absent, poll.source))
    if poll.suppressed_by != memory.suppressed.get(poll.source, []):
        others = without(memory.suppressed, poll.source)
        suppressed = {**others, poll.source: poll.suppressed_by} if poll.suppressed_by else others
        memory = replace(memory, suppressed=suppressed)
    return [] if memory is latest.memory else [Step(replace(latest, memory=memory))]


# --- What time does ------------------------------------------------------------------------------------------


def on_tick(latest: Episode, passed: Tick) -> list[Step]:
    if not latest.is_open:
        return []
    if is_gone(passed):
        note = "no Alertmanager knows it any more, and nobody told its end"
        if latest.memory.suppressed:
            note += "; suppressed by " + ", ".join(sorted({*chain(*latest.memory.suppressed.values())}))
        return [Step(end(latest, UNKNOWN, passed.at), False, FIRING, UNKNOWN, note)]
    heard_at = max(latest.last_seen_at, passed.known_at or latest.last_seen_at)
    if passed.at - heard_at >= passed.stale_after:
        return [Step(end(latest, STALE, passed.at), False, FIRING, STALE, "nothing was heard of it any more")]
    return []


def is_gone(passed: Tick) -> bool:
    if passed.absent_since is None or passed.absent_until is None:
        return False
    return passed.absent_until - passed.absent_since >= passed.unknown_after


def end(latest: Episode, state: str, at: datetime) -> Episode:
    return replace(latest, state=state, closed_at=not_before(latest, at))
