"""Polls beside each other: a turn waits for those that answer, and reports the others later."""

from collections.abc import Iterator
from threading import Event

import pytest

from alerts_audit.completeness import side_by_side
from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.side_by_side import SideBySide
from fintech.testing.processes import wait_until


class Targets:
    """Targets by name: one that hangs fails when it goes on."""

    def __init__(self) -> None:
        self.polled: list[str] = []
        self.hanging: dict[str, Event] = {}
        self.polls = SideBySide[str]("test", self.poll)

    def poll(self, name: str) -> None:
        self.polled.append(name)
        if name in self.hanging:
            assert self.hanging[name].wait(30)
            raise PollError(f"{name} does not answer")

    def hang(self, *names: str) -> None:
        self.hanging |= {name: Event() for name in names}

    def turn(self, *names: str) -> None:
        self.polls.turn({name: name for name in names})

    def fails(self, *names: str) -> str | None:
        """Return the error of a turn."""
        try:
            self.turn(*names)
        except PollError as error:
            return str(error)
        return None

    def go_on(self) -> None:
        for event in self.hanging.values():
            event.set()


@pytest.fixture
def targets(monkeypatch) -> Iterator[Targets]:
    monkeypatch.setattr(side_by_side, "PATIENCE_SECONDS", 0.2)
    yield (found := Targets())
    found.go_on()


def test_more_targets_that_hang_than_are_polled_at_once_delay_no_other(targets):
    hanging = [f"a-{number}" for number in range(3 * side_by_side.AT_ONCE)]
    targets.hang(*hanging)

    def polled(times: int) -> bool:
        targets.turn(*hanging, "b")
        return targets.polled.count("b") >= times

    wait_until(lambda: polled(3), 8, "three polls of the other one")
    assert sorted(set(targets.polled) - {"b"}) == sorted(hanging)
    assert len(targets.polled) - targets.polled.count("b") == len(hanging)  # none of them twice at the same time


def test_a_slow_target_comes_last_the_next_time(targets, monkeypatch):
    monkeypatch.setattr(side_by_side, "AT_ONCE", 1)
    targets.hang("a")
    targets.turn("a", "b")
    targets.go_on()
    wait_until(lambda: targets.fails("a", "b") and targets.polled[-2:] == ["b", "a"], what="a comes last")


def test_a_target_that_fails_is_reported_until_it_has_answered(targets):
    targets.hang("a")
    targets.turn("a", "b")
    targets.go_on()
    wait_until(lambda: targets.fails("a", "b") == "a does not answer", what="its end is noted")

    targets.hang("a")
    assert [targets.fails("a", "b") for _ in range(2)] == ["a does not answer"] * 2

    targets.go_on()
    targets.hanging.clear()
    wait_until(lambda: targets.fails("a", "b") is None, what="it has answered")


def test_a_target_that_is_gone_is_not_reported(targets):
    targets.hang("a")
    targets.go_on()
    wait_until(lambda: targets.fails("a"), what="its end is noted")

    assert targets.fails("b") is None


def test_a_poll_that_does_not_end_fails_the_turn(targets, monkeypatch):
    """Otherwise, no one would notice that its target is not polled any more."""
    monkeypatch.setattr(side_by_side, "STUCK_SECONDS", 0)
    targets.hang("a")

    assert targets.fails("a") == "a: its poll has not ended for 0 minutes"


def test_a_poll_that_does_not_end_of_a_target_that_is_gone_is_not_reported(targets, monkeypatch):
    monkeypatch.setattr(side_by_side, "STUCK_SECONDS", 0)
    targets.hang("a")
    assert targets.fails("a", "b") is not None

    assert targets.fails("b") is None


def test_polls_that_wait_for_a_thread_are_neither_slow_nor_stuck(targets, monkeypatch):
    hanging = [f"a-{number}" for number in range(side_by_side.MOST_THREADS)]
    targets.hang(*hanging)
    targets.turn(*hanging)
    monkeypatch.setattr(side_by_side, "STUCK_SECONDS", 0)

    assert "b: " not in str(targets.fails(*hanging, "b"))
    assert "b" not in targets.polled

    targets.go_on()
    wait_until(lambda: "b" in targets.polled, what="a thread is free")


def test_an_unexpected_error_is_raised_once_while_the_next_poll_has_not_ended(monkeypatch):
    monkeypatch.setattr(side_by_side, "PATIENCE_SECONDS", 0.2)
    first, go_on = [True], Event()

    def fail_then_hang(name: str) -> None:
        if first:
            first.clear()
            raise ZeroDivisionError
        assert go_on.wait(30)

    polls = SideBySide[str]("test", fail_then_hang)
    with pytest.raises(ZeroDivisionError):
        polls.turn({"a": "a"})
    try:
        polls.turn({"a": "a"})
    finally:
        go_on.set()


def test_an_error_that_is_not_expected_is_raised_as_it_is(targets):
    def fail(name: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        SideBySide[str]("test", fail).turn({"a": "a"})
