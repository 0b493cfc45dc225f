"""Whatever two peers say in whatever order, some things always hold."""

from itertools import pairwise
from typing import Any

import pytest
from django.db.models import Count
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts_audit.models import Episode, Transition
from alerts_audit.projection.state_machine import LEGAL
from alerts_audit.tests.projection.trail import Trail
from fintech.testing.processes import IN_FULL

PEERS = st.sampled_from("ab")
INSTANCES = st.sampled_from(["one", "two"])
# Starts and ends come from a few minutes, so that they often are the same, or lie within the skew of each other.
TIMES = st.sampled_from([None, 0, 0.5, 1, 5, 5.2, 9, 20, 400])
ALERTS = st.fixed_dictionaries(
    {"status": st.sampled_from(["firing", "firing", "resolved"]), "since": TIMES, "at": TIMES, "instance": INSTANCES}
)
DELIVERIES = st.tuples(st.just("deliver"), PEERS, st.lists(ALERTS, min_size=1, max_size=3))
OBSERVATIONS = st.tuples(st.just("see"), PEERS, st.booleans())
TICKS = st.tuples(st.just("tick"), st.none(), st.none())
# Some are late: an event is received so many minutes after the one before, or before it.
STEPS = st.tuples(st.sampled_from([0, 0.1, 0.5, 1, 11, 300, -0.2, -3]), st.one_of(DELIVERIES, OBSERVATIONS, TICKS))


def happen(trail: Trail, minute: float, event: tuple[str, Any, Any]) -> None:
    kind, peer, content = event
    if kind == "deliver":
        alerts = [
            trail.alert(
                alert["status"],
                alert["since"],
                alert["at"],
                labels={"alertname": trail.alertname, "instance": alert["instance"]},
            )
            for alert in content
        ]
        trail.deliver(trail.document(*alerts), minute, peer)
    elif kind == "see":
        trail.sees(minute, peer, known=content)
        trail.polls(minute, peer)
    else:
        trail.project()
        trail.tick()


def check(trail: Trail) -> None:
    episodes = Episode.objects.filter(identity__cluster=trail.cluster)
    several = episodes.filter(state="firing").values("identity").annotate(open=Count("pk")).filter(open__gt=1)
    assert not several.exists()
    for episode in episodes:
        steps = list(Transition.objects.filter(episode=episode).order_by("pk"))
        assert {(step.from_state, step.to_state) for step in steps} <= LEGAL
        assert all(one.to_state == other.from_state for one, other in pairwise(steps))
        assert (steps[0].from_state, steps[-1].to_state) == (None, episode.state)
        assert steps[0].input_number == episode.opened_input <= steps[-1].input_number <= episode.last_input
        assert episode.opened_at <= episode.last_seen_at
        assert episode.closed_at is None or episode.closed_at >= episode.opened_at


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [True, False], ids=["in few transactions", "in one for each"])
def test_two_peers_in_any_order(lone_trail: Trail, at_once: bool):
    @settings(
        max_examples=500 if IN_FULL else 25,
        suppress_health_check=list(HealthCheck),
        derandomize=not IN_FULL,
    )
    @given(st.lists(STEPS, min_size=2, max_size=25))
    def run(steps: list[tuple[float, tuple[str, Any, Any]]]) -> None:
        story = lone_trail.another()
        minute = 0.0
        for pause, event in steps:
            minute += pause
            happen(story, minute, event)
            if not at_once:
                story.project()
        story.project()
        check(story)

    run()
    assert lone_trail.differences() == []
