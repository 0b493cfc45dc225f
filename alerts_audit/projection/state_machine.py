"""Decide what the next update of an alert means for its episode. Pure: no clock, no database.

The inputs are an update by a source about one identity (`Said`), the result of a poll of Alertmanager (`Seen`), or the
passing of time (`Tick`). The outputs are `Step`s: the latest episode as it is now, or a new one, and the transition if
its state changed. docs/alert-projection.md has the table of cases.

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
SKEW: Final = timedelta(seconds=60)
# A "firing" that repeats an ended episode comes from a peer that lags behind, for this long after the end,
LAGGING: Final = timedelta(minutes=10)
# and until the same source repeats it this much later. Earlier, it is one delivery that was sent twice.
AGAIN: Final = timedelta(seconds=20)


class Told(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The reports of one source about one episode."""

    fired: bool = False
    ended: bool = False
    ends_at: datetime | None = None
    doubted_at: datetime | None = None  # it reported "firing" after the end, and may only lag behind


class Memory(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The state against which later updates are compared. Stored with the episode, as JSON."""

    newest_start: datetime | None = None  # of the reports about this episode
    told: dict[str, Told] = {}
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


class Said(msgspec.Struct, frozen=True, gc=False):
    """An alert of a delivery. Impossible times are None."""

    source: str
    at: datetime
    firing: bool
    starts_at: datetime | None
    ends_at: datetime | None


class Seen(msgspec.Struct, frozen=True, gc=False):
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


def hear(latest: Episode | None, said: Said) -> list[Step]:
    """Return the steps for the identity with this latest episode; none if the update is about an earlier episode."""
    if latest is None:
        return [begin(said)]
    if is_newer(latest, said):
        note = None if said.firing else "its firing never arrived"
        return [*supersede(latest, said), begin(said, after=latest, note=note)]
    if said.firing:
        return hear_firing(latest, said)
    return hear_resolved(latest, said)


def begin(said: Said, *, after: Episode | None = None, note: str | None = None) -> Step:
    """Begin a new episode, open or already over."""
    starts_at = said.starts_at or said.ends_at or said.at
    told = Told(fired=said.firing, ended=not said.firing, ends_at=said.ends_at)
    memory = Memory(newest_start=said.starts_at, told={said.source: told}, **_before(after, starts_at))
    state = FIRING if said.firing else RESOLVED
    closed_at = None if said.firing else said.at
    episode = Episode(state, starts_at, said.ends_at, said.at, closed_at, said.at, memory)
    if after is None and not said.firing:
        note = "its firing never arrived"
    return Step(episode, True, None, state, note)


def _before(after: Episode | None, starts_at: datetime) -> dict[str, Any]:
    """Return the data of the previous episode that the new one must keep. Both may begin at the same time."""
    if after is None:
        return {}
    newest = after.memory.newest_start
    ends = {source: told.ends_at for source, told in after.memory.told.items()}
    return {
        "previous_start": newest if newest is not None and newest < starts_at else None,
        "previous_ends": {source: end for source, end in ends.items() if end is not None and end > starts_at},
    }


def is_newer(latest: Episode, said: Said) -> bool:
    """Return True if the update is about an episode that began after the latest."""
    told = latest.memory.told.get(said.source)
    if said.starts_at is None or latest.memory.newest_start is None:
        return False
    margin = SKEW if told is None else timedelta(0)
    if said.starts_at > latest.memory.newest_start + margin:
        return True
    if latest.state != RESOLVED or latest.ends_at is None:
        return False
    if said.firing:
        return said.starts_at >= latest.ends_at
    # The same start, another end, from a source that reported the first end: it fired again without a report.
    return told is not None and _is_after(said.ends_at, told.ends_at)


def _is_after(later: datetime | None, earlier: datetime | None) -> bool:
    return later is not None and earlier is not None and later > earlier + SKEW


def supersede(latest: Episode, said: Said) -> list[Step]:
    """End an open episode because the next one began."""
    if not latest.is_open:
        return []
    ended = replace(latest, state=SUPERSEDED, closed_at=clock(latest, said.at))
    return [Step(ended, False, FIRING, SUPERSEDED, "it began anew, and its end was not told")]


def hear_firing(latest: Episode, said: Said) -> list[Step]:
    told = latest.memory.told.get(said.source, Told())
    if latest.is_open:
        return [Step(repeat(latest, said, replace(told, fired=True)))]
    if latest.state != RESOLVED:
        return [begin(said, after=latest, note="heard of again")]
    if told.fired and told.ended:
        return [begin(said, after=latest, note="fires again, with the same start")]
    if told.doubted_at is not None and said.at - told.doubted_at >= AGAIN:
        return [begin(said, after=latest, note="one peer goes on saying that it fires")]
    if latest.closed_at is not None and said.at - latest.closed_at > LAGGING:
        return [begin(said, after=latest, note="fires long after its end was told")]
    doubt = replace(told, doubted_at=told.doubted_at or said.at)
    return [Step(remember(latest, said, doubt))]


def hear_resolved(latest: Episode, said: Said) -> list[Step]:
    if is_about_the_one_before(latest, said):
        return []
    told = latest.memory.told.get(said.source, Told())
    fired = told.fired or told.doubted_at is not None
    episode = remember(latest, said, Told(fired=fired, ended=True, ends_at=said.ends_at))
    if latest.state == RESOLVED:
        return [Step(replace(episode, ends_at=latest.ends_at or said.ends_at))]
    note = None if latest.is_open else "its end was told late"
    ended = replace(episode, state=RESOLVED, ends_at=said.ends_at, closed_at=clock(latest, said.at))
    return [Step(ended, False, latest.state, RESOLVED, note)]


def is_about_the_one_before(latest: Episode, said: Said) -> bool:
    """Return True if an end belongs to an episode before the latest."""
    if said.ends_at is None:
        return False
    if said.ends_at < latest.starts_at:
        return said.starts_at is None or said.starts_at < said.ends_at
    memory = latest.memory
    if said.source in memory.previous_ends:
        return said.ends_at <= memory.previous_ends[said.source]
    if not memory.previous_ends or {source for source, told in memory.told.items() if told.fired} == {said.source}:
        return False  # only this peer reported this episode, so it can end it
    return said.ends_at <= max(memory.previous_ends.values()) + SKEW


def repeat(latest: Episode, said: Said, told: Told) -> Episode:
    """Count a repeated firing. Its start may move backwards, but not into the previous episode."""
    episode = remember(latest, said, told)
    start, memory = said.starts_at, episode.memory
    if start is None or start == latest.starts_at:
        return episode
    if memory.previous_start is not None and start <= memory.previous_start:
        return episode
    if memory.newest_start is None or start > memory.newest_start:
        episode = replace(episode, memory=replace(memory, newest_start=start))
    return replace(episode, starts_at=min(start, latest.starts_at))


def remember(latest: Episode, said: Said, told: Told) -> Episode:
    """Return the episode with this update. A repeated update leaves the memory unchanged."""
    memory = latest.memory
    if memory.told.get(said.source) != told:
        memory = replace(memory, told={**memory.told, said.source: told})
    if said.firing and said.source in memory.absent:
        memory = replace(memory, absent=without(memory.absent, said.source))
    return replace(latest, last_seen_at=clock(latest, said.at), memory=memory)


def clock(latest: Episode, at: datetime) -> datetime:
    """Keep an episode's time from running backwards, because a delivery may be numbered after a later one."""
    return max(at, latest.last_seen_at)


def without(mapping: dict[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in mapping.items() if key != name}


# --- What Alertmanager is seen to know -------------------------------------------------------------------------


def see(latest: Episode, seen: Seen) -> list[Step]:
    if latest.is_open:
        return see_open(latest, seen)
    doubts = [told.doubted_at for told in latest.memory.told.values() if told.doubted_at is not None]
    if seen.known and not seen.suppressed_by and any(doubt < seen.at for doubt in doubts):
        said = Said(seen.source, seen.at, True, seen.starts_at, None)
        return [begin(said, after=latest, note="Alertmanager still has it")]
    return []


def see_open(latest: Episode, seen: Seen) -> list[Step]:
    """No change, no step. Every poll repeats all firing alerts."""
    memory = latest.memory
    if not seen.known:
        if seen.at <= latest.last_seen_at or seen.source in memory.absent:
            return []
        memory = replace(memory, absent={**memory.absent, seen.source: seen.at})
        return [Step(replace(latest, memory=memory))]
    if seen.source in memory.absent:
        memory = replace(memory, absent=without(memory.absent, seen.source))
    if seen.suppressed_by != memory.suppressed.get(seen.source, []):
        others = without(memory.suppressed, seen.source)
        suppressed = {**others, seen.source: seen.suppressed_by} if seen.suppressed_by else others
        memory = replace(memory, suppressed=suppressed)
    return [] if memory is latest.memory else [Step(replace(latest, memory=memory))]


# --- What time does ------------------------------------------------------------------------------------------


def tick(latest: Episode, passed: Tick) -> list[Step]:
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
    return replace(latest, state=state, closed_at=clock(latest, at))
