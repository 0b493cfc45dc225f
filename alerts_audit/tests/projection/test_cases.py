"""Every case of docs/alert-projection.md, in minutes. Each is checked again after a rebuild."""

from collections.abc import Callable
from typing import Any

import pytest

from alerts_audit.models import Transition
from alerts_audit.projection.state_machine import LEGAL
from alerts_audit.tests.projection.trail import Trail

TransitionRow = Callable[[Trail], Any]
Story = list[tuple[str, float | None, float | None, list[str]]]

FIRING = ("firing", 0.0, None, ["firing"])
RESOLVED = ("resolved", 0.0, 5.0, ["firing", "resolved"])
SUPERSEDED = ("superseded", 0.0, None, ["firing", "superseded"])

CASES: dict[str, tuple[list[TransitionRow], Story]] = {
    # --- one source
    "it fires": ([lambda t: t.fires(0)], [FIRING]),
    "it fires and ends": ([lambda t: t.fires(0), lambda t: t.ends(6)], [RESOLVED]),
    "it is repeated every repeat_interval": ([lambda t: t.fires(0), lambda t: t.fires(240)], [FIRING]),
    "its end is reported twice": ([lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.ends(7)], [RESOLVED]),
    "its start moves backwards, as of another replica": (
        [lambda t: t.fires(0), lambda t: t.fires(1, since=-0.5), lambda t: t.fires(2)],
        [("firing", -0.5, None, ["firing"])],
    ),
    "it ends with the start of another replica": (
        [lambda t: t.fires(0), lambda t: t.ends(6, since=-0.25)],
        [RESOLVED],
    ),
    "it fires again later": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(10, since=9)],
        [RESOLVED, ("firing", 9.0, None, ["firing"])],
    ),
    "it fires again with the same start": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(7)],
        [RESOLVED, FIRING],
    ),
    "it fires again with the same start, and ends again soon": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(6.1), lambda t: t.ends(6.4, at=5.2)],
        [RESOLVED, ("resolved", 0.0, 5.2, ["firing", "resolved"])],
    ),
    "the first end is reported again after it fires again": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(7), lambda t: t.ends(7.1)],
        [RESOLVED, FIRING],
    ),
    "it began anew, and its end was not told": (
        [lambda t: t.fires(0), lambda t: t.fires(10, since=9)],
        [SUPERSEDED, ("firing", 9.0, None, ["firing"])],
    ),
    "the end of a superseded one comes late": (
        [lambda t: t.fires(0), lambda t: t.fires(10, since=9), lambda t: t.ends(11)],
        [SUPERSEDED, ("firing", 9.0, None, ["firing"])],
    ),
    "a firing of the one before comes late": (
        [lambda t: t.fires(0), lambda t: t.fires(10, since=9), lambda t: t.fires(11)],
        [SUPERSEDED, ("firing", 9.0, None, ["firing"])],
    ),
    "the end of a later one is reported, whose firing never came": (
        [lambda t: t.fires(0), lambda t: t.ends(13, since=9, at=12)],
        [SUPERSEDED, ("resolved", 9.0, 12.0, ["resolved"])],
    ),
    "it is over when first heard of": ([lambda t: t.ends(6)], [("resolved", 0.0, 5.0, ["resolved"])]),
    "its end comes before its firing": (
        [lambda t: t.ends(6), lambda t: t.fires(6.1)],
        [("resolved", 0.0, 5.0, ["resolved"])],
    ),
    "it was over before, and fires again": (
        [lambda t: t.ends(6), lambda t: t.fires(10, since=9)],
        [("resolved", 0.0, 5.0, ["resolved"]), ("firing", 9.0, None, ["firing"])],
    ),
    "it fired again in between, and only that end was reported": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.ends(60, at=58)],
        [RESOLVED, ("resolved", 0.0, 58.0, ["resolved"])],
    ),
    "an end without a time": (
        [lambda t: t.fires(0), lambda t: t.ends(6, at=None)],
        [("resolved", 0.0, None, ["firing", "resolved"])],
    ),
    "an end in the year 9999": (
        [lambda t: t.fires(0), lambda t: t.ends(6, at="9999-12-31T23:59:59-14:00")],
        [("resolved", 0.0, None, ["firing", "resolved"])],
    ),
    "a start in the year 0": (
        [lambda t: t.fires(3, since="0000-01-01T00:00:00Z")],
        [("firing", 3.0, None, ["firing"])],
    ),
    "unusable starts, again and again": (
        [lambda t: t.fires(3, since="soon"), lambda t: t.fires(4, since="9999-01-01T00:00:00Z")],
        [("firing", 3.0, None, ["firing"])],
    ),
    # --- two peers
    "both peers report it": ([lambda t: t.fires(0), lambda t: t.fires(0.1, peer="b")], [FIRING]),
    "the peers differ about the start": (
        [lambda t: t.fires(0), lambda t: t.fires(1, since=0.5, peer="b"), lambda t: t.fires(2)],
        [FIRING],
    ),
    "each peer reports one half": ([lambda t: t.fires(0), lambda t: t.ends(6, peer="b")], [RESOLVED]),
    "both peers report the end": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.ends(6.2, at=5.1, peer="b")],
        [RESOLVED],
    ),
    "one peer lags behind": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(6.2, peer="b")],
        [RESOLVED],
    ),
    "one peer lags behind, and then reports the end too": (
        [
            lambda t: t.fires(0),
            lambda t: t.ends(6),
            lambda t: t.fires(6.2, peer="b"),
            lambda t: t.ends(8, peer="b"),
            lambda t: t.ends(8.1, peer="b"),
        ],
        [RESOLVED],
    ),
    "a lagging peer's word is sent twice": (
        [lambda t: t.fires(0), lambda t: t.ends(6), *[lambda t: t.fires(6.2, peer="b")] * 2],
        [RESOLVED],
    ),
    "one peer goes on": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(6.2, peer="b"), lambda t: t.fires(8, peer="b")],
        [RESOLVED, FIRING],
    ),
    "one peer went on, and then reports the end": (
        [
            lambda t: t.fires(0),
            lambda t: t.ends(6),
            lambda t: t.fires(6.2, peer="b"),
            lambda t: t.fires(8, peer="b"),
            lambda t: t.ends(9, peer="b"),
        ],
        [RESOLVED, RESOLVED],
    ),
    "the other peer's end of the one before comes late": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(7), lambda t: t.ends(7.1, at=5.1, peer="b")],
        [RESOLVED, FIRING],
    ),
    "a peer says so long after the end": (
        [lambda t: t.fires(0), lambda t: t.ends(6), lambda t: t.fires(240, peer="b")],
        [RESOLVED, FIRING],
    ),
    "a peer lags, and its Alertmanager still has it": (
        [
            lambda t: t.fires(0),
            lambda t: t.ends(6),
            lambda t: t.fires(6.2, peer="b"),
            lambda t: t.sees(7, "b", known=True),
        ],
        [RESOLVED, FIRING],
    ),
    "the other peer reports the next one": (
        [lambda t: t.fires(0), lambda t: t.fires(10, since=9, peer="b"), lambda t: t.fires(10.1)],
        [SUPERSEDED, ("firing", 9.0, None, ["firing"])],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_case(trail: Trail, case: str):
    events, story = CASES[case]

    for event in events:
        event(trail)
        assert trail.project() == 1

    assert trail.story() == story
    assert trail.differences() == []


@pytest.mark.parametrize("case", CASES)
def test_case_in_one_transaction(trail: Trail, case: str):
    events, story = CASES[case]

    for event in events:
        event(trail)
    trail.project()

    assert trail.story() == story
    steps = Transition.objects.filter(episode__identity__cluster=trail.cluster).values_list("from_state", "to_state")
    assert set(steps) <= LEGAL
