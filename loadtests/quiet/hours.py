"""The hours of a quiet run: their traffic, and the minutes at which something ordinary disturbs it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.quiet.disturbances import DISTURBANCES, REAL_TIME_ONLY


@dataclass(frozen=True)
class Traffic:
    """Payments of all merchants together per minute of the rules' time; None: as fast as in the drills."""

    name: str
    per_minute: float | None


NORMAL = Traffic("normal", None)
LOW = Traffic("low", 1)
NIGHTLY = Traffic("nightly", 10)
MIXTURES = {"mixed": (NORMAL, NIGHTLY, LOW), "normal": (NORMAL,), "low": (LOW,), "nightly": (NIGHTLY,)}

FIRST_MINUTE, MINUTES_BETWEEN = 5, 12


@dataclass(frozen=True)
class Event:
    """At `minute` of the run, `disturbance` happens, or the traffic changes."""

    minute: float
    disturbance: str | None = None
    traffic: Traffic | None = None


def events(hours: float, mixture: str, *, real_time: bool) -> list[Event]:
    """Return the events in order: a kind of traffic for each hour, and a disturbance every MINUTES_BETWEEN minutes."""
    kinds = MIXTURES[mixture]
    traffic = [Event(60 * hour, traffic=kinds[hour % len(kinds)]) for hour in range(math.ceil(hours))]
    return sorted([*traffic, *disturbances(hours, real_time=real_time)], key=lambda event: event.minute)


def disturbances(hours: float, *, real_time: bool) -> Iterator[Event]:
    names = [name for name in DISTURBANCES if real_time or name not in REAL_TIME_ONLY]
    for number, minute in enumerate(range(FIRST_MINUTE, int(hours * 60), MINUTES_BETWEEN)):
        yield Event(minute, disturbance=names[number % len(names)])
