"""The stages that a drill awaits, with a platform that only pretends."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from fintech.testing.processes import TooLate
from loadtests.drill import NotPossible, steps
from loadtests.drill.faults import FAULTS, Fault, nothing
from loadtests.drill.lab import USUAL
from loadtests.drill.steps import run

ALERT = "WebhookUnauthorized"
# No look follows the stages that the drill awaits.
FAULT = Fault("pretended", ALERT, nothing, nothing, minutes=0, resolves=False, trail_verifies=False)


class PhoneThatRingsLate:
    """A phone that rings at the look after `looks` others."""

    def __init__(self, looks: float) -> None:
        self.looks = looks

    def rang(self, alert: str, *, since: float) -> float | None:
        self.looks -= 1
        return time.time() if self.looks < 0 else None


class Pretended:
    """A drill's platform, whose alert fires and is in the trail at the first look."""

    def __init__(self, phone: PhoneThatRingsLate | None, alert: str = ALERT) -> None:
        self.phone, self.alert, self.conditions = phone, alert, USUAL
        self.own = SimpleNamespace(query=lambda *_: [(2,)])

    def wait_until_calm(self) -> None: ...

    def alerts(self) -> list[dict[str, Any]]:
        since = datetime.fromtimestamp(time.time() + 1, UTC).isoformat()
        return [{"labels": {"alertname": self.alert}, "activeAt": since, "state": "firing"}]

    def received(self, status: str, **_: float) -> dict[str, float]:
        return {self.alert: time.time()} if status == "firing" else {}

    def fired(self, **_: float) -> set[str]:
        return {self.alert}

    def arrived(self, **_: Any) -> set[str]:
        return {self.alert}

    def delivery(self, *_: str, **__: float) -> int:
        return 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(steps, "PATIENCE_SECONDS", 1)
    monkeypatch.setattr(steps, "SLOWNESS", 1)
    monkeypatch.setattr(steps.Timeline, "seconds_to_bound", lambda _: 1)


@pytest.mark.parametrize("timed", [True, False])
def test_people_who_are_notified_after_the_trail_are_awaited(timed):
    timeline = run(FAULT, Pretended(PhoneThatRingsLate(1)), lambda _: None, timed=timed)
    assert {"recorded", "notified"} <= timeline.stages.keys()


@pytest.mark.parametrize("timed", [True, False])
def test_a_drill_fails_if_the_trail_has_its_alert_and_people_are_never_notified(timed):
    with pytest.raises(TooLate, match=f"{ALERT} was not notified within 1 s; it reached .*firing, recorded"):
        run(FAULT, Pretended(PhoneThatRingsLate(float("inf"))), lambda _: None, timed=timed)


def refuse(_: object) -> NoReturn:
    raise NotPossible("it needs the right to mount a file system")


def miss(_: object) -> NoReturn:
    raise FileNotFoundError("filler")


def test_a_fault_that_did_not_begin_is_the_reason_also_if_its_end_fails():
    said: list[str] = []
    with pytest.raises(NotPossible, match="the right to mount"):
        run(replace(FAULT, begin=refuse, end=miss), Pretended(None), said.append)
    assert said[-1] == "not undone: FileNotFoundError: filler"


def test_a_fault_whose_drill_fails_is_undone():
    undone: list[object] = []
    with pytest.raises(NotPossible):
        run(replace(FAULT, begin=refuse, end=undone.append), Pretended(None), lambda _: None)
    assert len(undone) == 1


@pytest.mark.parametrize(("speed", "seconds"), [(60, 1), (20, 1), (5, 4), (1, 20)])
def test_below_the_usual_speed_what_the_fault_has_held_up_may_take_longer(speed, seconds):
    assert steps.Timeline(FAULT.at_speed(speed)).seconds_of_patience() == seconds


@pytest.mark.parametrize("timed", [True, False])
def test_a_running_platform_does_not_show_when_people_are_notified(timed):
    timeline = run(FAULT, Pretended(None), lambda _: None, timed=timed)
    assert "notified" not in timeline.stages


@pytest.mark.parametrize("timed", [True, False])
def test_no_one_is_notified_of_the_heartbeat(timed):
    heartbeat = next(fault for fault in FAULTS if fault.alert == "Watchdog")
    pretended = replace(FAULT, alert="Watchdog", ramp_minutes=heartbeat.ramp_minutes)
    timeline = run(pretended, Pretended(PhoneThatRingsLate(float("inf")), "Watchdog"), lambda _: None, timed=timed)
    assert "notified" not in timeline.stages
