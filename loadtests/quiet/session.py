"""One quiet run: a platform of its own, its traffic, its disturbances, and what its alerts did meanwhile."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtests.drill.lab import Drill, Traffic, running_drill
from loadtests.quiet.disturbances import DISTURBANCES, restore_database
from loadtests.quiet.hours import Event, events
from loadtests.quiet.observer import Observer
from loadtests.quiet.rules_time import conditions

NEVER = float("inf")
POLL_SECONDS = 0.25
Say = Callable[[str], None]


def run(folder: Path, hours: float, speed: float, mixture: str, say: Say) -> dict[str, Any]:
    """Run the hours, and return their figures."""
    with running_drill(folder, conditions(speed)) as drill:
        say("The platform runs; waiting for calm.")
        drill.wait_until_calm()
        began = time.time()
        observer = Observer(began, speed)
        # One merchant for the low traffic: those of the drills would pay in groups.
        trickle = drill.stack.enter_context(Traffic(drill.own, merchants=1, pause_seconds=NEVER))
        planned = events(hours, mixture, real_time=speed == 1)
        done = follow(drill, trickle, observer, planned=planned, seconds=hours * 3600 / speed, say=say)
        observer.note_arrived(drill.fired(since=began), time.time())
        restore_database(drill)
        [[payments]] = drill.own.query("SELECT count(*) FROM payments_transaction")
        code, printed = drill.own.manage("verify_audit")
    return {
        "hours": hours,
        "speed": speed,
        "traffic": mixture,
        "payments": payments,
        "disturbances": dict(done),
        **observer.as_dict(),
        "trail": "verified" if code == 0 else printed.strip()[-500:],
    }


def follow(
    drill: Drill, trickle: Traffic, observer: Observer, *, planned: list[Event], seconds: float, say: Say
) -> Counter[str]:
    """Let the planned events happen while the alerts are observed. Return how often each disturbance happened."""
    done: Counter[str] = Counter()
    minute = 60 / observer.speed
    while (now := time.time()) < observer.began + seconds:
        for name in observer.note(drill.alerts(), now):
            say(f"FALSE POSITIVE {name}")
        while planned and now >= observer.began + planned[0].minute * minute:
            event = planned.pop(0)
            happen(drill, trickle, event, minute)
            say(f"{event.minute:5.0f} min  {event.disturbance or f'{event.traffic and event.traffic.name} traffic'}")
            done.update([event.disturbance] if event.disturbance else [])
        time.sleep(POLL_SECONDS)
    return done


def happen(drill: Drill, trickle: Traffic, event: Event, minute: float) -> None:
    if event.disturbance:
        DISTURBANCES[event.disturbance](drill)
    if event.traffic:
        per_minute = event.traffic.per_minute
        trickle.pause_seconds = minute / per_minute if per_minute else NEVER
        drill.traffic.pause_seconds = NEVER if per_minute else Traffic.PAUSE_SECONDS
