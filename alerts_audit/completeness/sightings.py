"""Derive which alerts were seen, from when to when, and therefore must arrive. No database, no clock.

A sighting is one period in which an alert could be sent: it fires and is not suppressed. A continuing sighting is
judged once; an ended one is kept until it is judged, however short it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import orjson


@dataclass
class Sighting:
    """A sighting. `first` and `last` are when the alert was seen; `since` is its reported start.

    `exact`: the labels are those of the webhook; otherwise some may be missing.
    """

    labels: dict[str, str]
    since: datetime
    first: datetime
    last: datetime
    observation_id: int
    seen_by: str
    exact: bool = True
    ended: bool = False
    settled: bool = False


@dataclass
class Held:
    """A period in which Alertmanager had an alert, also a suppressed one: from its start until it last had it."""

    labels: dict[str, str]
    since: datetime
    last: datetime


class Sightings:
    """The sightings of one source by one kind of poll."""

    def __init__(self) -> None:
        self._present: dict[bytes, Sighting] = {}
        self._past: list[Sighting] = []

    def overdue(self, by: datetime) -> list[Sighting]:
        """Return the sightings that began by then and are not settled yet."""
        return [
            sighting
            for sighting in (*self._past, *self._present.values())
            if not sighting.settled and sighting.first <= by
        ]

    def unjudged_from(self) -> datetime | None:
        """Return when the first sighting began that is not settled yet."""
        open_ones = (one.first for one in (*self._past, *self._present.values()) if not one.settled)
        return min(open_ones, default=None)

    def settle(self, before: datetime) -> None:
        """Settle the sightings that began before that time: the worker before has judged them."""
        for sighting in (*self._past, *self._present.values()):
            sighting.settled = sighting.settled or sighting.first < before

    def forget_settled(self) -> None:
        """Forget settled sightings that have ended."""
        self._past = [sighting for sighting in self._past if not sighting.settled]

    def _end(self, key: bytes) -> None:
        if sighting := self._present.pop(key, None):
            sighting.ended = True
            self._past.append(sighting)


class AlertmanagerSightings(Sightings):
    def __init__(self) -> None:
        super().__init__()
        self._held: dict[bytes, list[Held]] = {}  # by alert; one entry for each time that it fired

    def saw(self, at: datetime, alerts: Iterable[Mapping[str, Any]], observation_id: int) -> None:
        """Add the alerts of Alertmanager at that moment."""
        present = set()
        for alert in alerts:
            labels = dict(alert["labels"])
            key = get_key(labels)
            starts_at = parsed(alert["starts_at"]) or at
            self._hold(key, labels, starts_at, at)
            if alert["state"] == "suppressed":
                self._present.pop(key, None)  # it is recorded as suppressed
                continue
            present.add(key)
            sighting = self._present.get(key)
            if sighting is not None and starts_at > sighting.last:
                self._end(key)  # it ended and started again since the last poll
                sighting = None
            if sighting is None:
                since = min(starts_at, at)
                self._present[key] = Sighting(labels, since, at, at, observation_id, "alertmanager")
            else:
                sighting.last = at
        for key in self._present.keys() - present:
            self._end(key)

    def _hold(self, key: bytes, labels: dict[str, str], starts_at: datetime, at: datetime) -> None:
        held = self._held.setdefault(key, [])
        if held and starts_at <= held[-1].last:
            held[-1].last = at
        else:
            held.append(Held(labels, min(starts_at, at), at))

    def stayed_suppressed(self, until: datetime, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Add that Alertmanager still had those of these alerts that it suppresses, at that time."""
        for alert in alerts:
            if alert["state"] == "suppressed":
                self._held[get_key(alert["labels"])][-1].last = until

    def knew(self, labels: Mapping[str, str], first: datetime, last: datetime, *, exact: bool = False) -> bool:
        """Return True if Alertmanager had an alert with at least these labels at some time between these two."""
        own = self._held.get(get_key(labels), [])
        others = () if exact else chain.from_iterable(self._held.values())
        wanted = labels.items()
        return any(
            held.since <= last and held.last >= first and wanted <= held.labels.items() for held in chain(own, others)
        )

    def forget_held(self, before: datetime) -> None:
        """Forget the periods that ended before that time."""
        kept = {key: [one for one in held if one.last >= before] for key, held in self._held.items()}
        self._held = {key: held for key, held in kept.items() if held}


class PrometheusSightings(Sightings):
    """`judged_before`: the worker before settled the sightings that began earlier, so they are settled here, too."""

    def __init__(self, judged_before: datetime | None = None) -> None:
        super().__init__()
        self._judged_before = judged_before
        self._upto: dict[bytes, datetime] = {}  # ranges overlap: the newest used sample

    def saw(
        self,
        begin: datetime,
        end: datetime,
        firing: Iterable[tuple[dict[str, str], list[datetime]]],
        *,
        pause: timedelta,
        observation_id: int,
        exact: bool = True,
    ) -> None:
        """Add the samples of a range in order of time. An alert without a sample for longer than `pause` has ended."""
        for labels, samples in firing:
            key = get_key(labels)
            for sample in samples:
                if sample > self._upto.get(key, begin - pause):
                    new = Sighting(labels, sample, sample, sample, observation_id, "prometheus", exact)
                    self._add(key, new, pause)
        for key, sighting in list(self._present.items()):
            if sighting.last < end - pause:
                self._end(key)
        self._upto = {key: sample for key, sample in self._upto.items() if sample >= begin}

    def _add(self, key: bytes, new: Sighting, pause: timedelta) -> None:
        self._upto[key] = new.last
        sighting = self._present.get(key)
        if sighting is not None and new.last - sighting.last <= pause:
            sighting.last = new.last
            return
        self._end(key)
        new.settled = self._judged_before is not None and new.first < self._judged_before
        self._present[key] = new


def get_key(labels: Mapping[str, str]) -> bytes:
    return orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS)


def parsed(moment: str) -> datetime | None:
    """Parse a time as Go writes it, up to nanoseconds, which are cut off. Return None if it is malformed."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return found if found.tzinfo else None
