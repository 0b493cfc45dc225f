"""One drill: make a fault, follow its alert, undo the fault, and compare the times with the bound of its rule."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fintech.testing.processes import TooLate, wait_until
from loadtests.drill import bounds
from loadtests.drill.faults import Fault
from loadtests.drill.lab import ALWAYS, SPEED, Drill

POLL_SECONDS = 0.25
# The programs' own pace is not accelerated: polls, jobs of the worker, and this machine's processor, in real seconds.
OWN_PACE_SECONDS = 8
# The trail may need the web or the database, which the fault has stopped. Below the usual speed, Alertmanager repeats
# its messages after longer.
PATIENCE_SECONDS = 30
# A slow machine may take this many times as long, if the times are not judged.
SLOWNESS = 3


class DrillFailed(AssertionError):
    """A drill did not go as its fault says; the message is the reason."""


@dataclass
class Timeline:
    """The stages of a drill, as seconds since 1970. A stage that was not reached is missing."""

    fault: Fault
    stages: dict[str, float] = field(default_factory=dict)
    delivery: int | None = None
    leaf: int | None = None

    def after(self, stage: str, start: str = "began") -> float | None:
        """Return the seconds of the rules' time from one stage to another."""
        if stage not in self.stages:
            return None
        return max(0.0, self.stages[stage] - self.stages[start]) * self.fault.conditions.speed

    @property
    def bound(self) -> float | None:
        """Return the seconds of the rules' time within which people must be notified."""
        if self.fault.alert is None:
            return None
        ramp = None if self.fault.ramp_minutes is None else self.fault.ramp_minutes * 60
        speed = self.fault.conditions.speed
        scrape = self.fault.conditions.scrape_seconds * speed
        limit = bounds.until_notified(self.fault.alert, ramp_seconds=ramp, scrape=scrape)
        return limit + (OWN_PACE_SECONDS + self.fault.own_pace_seconds) * speed

    def seconds_to_bound(self) -> float:
        """Return the real seconds from now until the bound."""
        return (self.bound or 0) / self.fault.conditions.speed - (time.time() - self.stages["began"])

    def seconds_of_patience(self) -> float:
        """Return the real seconds from now within which what the fault has held up must arrive."""
        return max(PATIENCE_SECONDS * max(1, SPEED / self.fault.conditions.speed), self.seconds_to_bound())


class Watch:
    """Notes when an alert reaches each stage, and says so."""

    def __init__(self, timeline: Timeline, drill: Drill, say: Callable[[str], None]) -> None:
        self.timeline, self.drill, self._say = timeline, drill, say
        self.alert = timeline.fault.alert or ""

    @property
    def notifies_people(self) -> bool:
        """Return True if the alert is for people, and they have a phone here."""
        return bool(self.alert and self.drill.phone) and bounds.severity(self.alert) != "none"

    def reach(self, stage: str, at: float | None = None) -> None:
        if stage not in self.timeline.stages:
            self.timeline.stages[stage] = at or time.time()
            self._say(stage)

    def look(self) -> None:
        if not self.alert:
            return
        began, stages = self.timeline.stages["began"], self.timeline.stages
        for alert in self.drill.alerts():
            since = datetime.fromisoformat(alert["activeAt"]).astimezone(UTC).timestamp()
            if alert["labels"]["alertname"] == self.alert and since >= began:
                self.reach("pending", since)
                if alert["state"] == "firing":
                    self.reach("firing")
        phone, pending = self.drill.phone, stages.get("pending", time.time())
        if phone and (rang := phone.rang(self.alert, since=pending)):
            self.reach("notified", rang)
        if "recorded" not in stages and (at := self.drill.received("firing", since=began).get(self.alert)):
            self.reach("recorded", at)
        if removed := stages.get("removed"):
            resolved = self.drill.received("resolved", since=began, after=removed)
            if self.alert in resolved:
                self.reach("resolved", resolved[self.alert])

    def during(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.look()
            time.sleep(min(POLL_SECONDS, left))

    def until(self, stage: str, seconds: float) -> None:
        def reached() -> bool:
            self.look()
            return stage in self.timeline.stages

        try:
            wait_until(reached, seconds, interval=POLL_SECONDS, strict=True)
        except TooLate:
            raise TooLate(
                f"{self.alert} was not {stage} within {seconds:.0f} s; it reached {', '.join(self.timeline.stages)},"
                f" and {', '.join(sorted(self.drill.fired(since=0))) or 'no other'} arrived"
            ) from None


def run(fault: Fault, drill: Drill, say: Callable[[str], None] = print, *, timed: bool = True) -> Timeline:
    """Run one drill on a platform. Raise DrillFailed, TooLate, or NotPossible if this machine cannot suffer the fault.

    The fault is undone in any case. Without `timed` it lasts until people are notified, and the times are not judged:
    the stages, their order, the silence of the other alerts and the trail are.
    """
    slowness = 1 if timed else SLOWNESS
    drill.wait_until_calm()
    say("calm")
    timeline = Timeline(fault)
    watch = Watch(timeline, drill, say)
    watch.reach("began")
    began, minute = timeline.stages["began"], fault.conditions.minute
    try:
        fault.begin(drill)
        watch.during(fault.minutes * minute)
        if fault.alert and not timed:
            # People are notified later than the trail, and never of an alert that has ended by then.
            watch.until("notified" if watch.notifies_people else "firing", slowness * timeline.seconds_to_bound())
    except BaseException:
        _end_after_failure(fault, drill, watch, say)
        raise
    fault.end(drill)
    watch.reach("removed")
    if fault.alert:
        watch.until("recorded", slowness * timeline.seconds_of_patience())
    if watch.notifies_people:  # by another route than that to the trail
        watch.until("notified", slowness * timeline.seconds_of_patience())
    if fault.resolves:
        if fault.alert:
            watch.until("resolved", slowness * fault.resolves_within_minutes * minute)
        _wait_until_nothing_fires(drill, slowness * 20 * minute)
    _check_alerts(timeline, drill.arrived(since=began, expected=fault.alert))
    if timed:
        _check_times(timeline)
    if fault.alert:
        _find_proof(timeline, drill)
    if fault.trail_verifies:
        _verify_trail(drill)
        say("verified")
    return timeline


def _end_after_failure(fault: Fault, drill: Drill, watch: Watch, say: Callable[[str], None]) -> None:
    """Undo what there is of a fault. The reason of the failure is what the drill reports, not that of its end."""
    try:
        fault.end(drill)
        watch.reach("removed")
    except Exception as error:
        say(f"not undone: {type(error).__name__}: {error}")


def _wait_until_nothing_fires(drill: Drill, seconds: float) -> None:
    """Wait for suppressed alerts, which would be sent when the alert that suppresses them has ended."""
    try:
        wait_until(lambda: drill.firing() == {ALWAYS}, seconds, interval=POLL_SECONDS, strict=True)
    except TooLate:
        raise TooLate(f"{', '.join(drill.firing() - {ALWAYS})} still fires") from None


def _find_proof(timeline: Timeline, drill: Drill) -> None:
    """Note the delivery that recorded the alert, and its leaf, once it is sealed."""
    timeline.delivery = drill.delivery(timeline.fault.alert or "", since=timeline.stages["began"])
    statement = "SELECT number FROM alerts_audit_leaf WHERE kind = 'delivery' AND ref = %s"
    [(timeline.leaf,)] = wait_until(
        lambda: drill.own.query(statement, timeline.delivery), 30, "the delivery is sealed", interval=0.5
    )


def _verify_trail(drill: Drill) -> None:
    code, printed = drill.own.manage("verify_audit")
    if code != 0:
        raise DrillFailed(f"the trail does not verify: {printed}")


def _check_alerts(timeline: Timeline, arrived: set[str]) -> None:
    expected = {timeline.fault.alert} - {None}
    if arrived != expected:
        raise DrillFailed(f"{', '.join(sorted(arrived)) or 'nothing'} arrived, not {timeline.fault.alert}")


def _check_times(timeline: Timeline) -> None:
    # People are not notified of the heartbeat, and a running platform does not show us when they are.
    notified = timeline.after("notified") or timeline.after("firing")
    if timeline.bound is not None and notified is not None and notified > timeline.bound:
        raise TooLate(f"people were notified after {notified / 60:.1f} min; the bound is {timeline.bound / 60:.1f}")
