"""What the trail makes of what the real Alertmanager really does."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts_audit.tests.real.rig import ALERTMANAGER, QUICK, Scene, scene
from fintech.testing import Platform, wait_until

pytestmark = pytest.mark.skipif(not ALERTMANAGER, reason="Alertmanager is not installed")


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform"), workers=2, env=QUICK) as platform:
        yield platform


@pytest.fixture
def trail(platform: Platform, tmp_path: Path) -> Iterator[Scene]:
    with scene(platform, tmp_path) as trail:
        yield trail


def alert(name: str | None = None, **labels: str) -> dict[str, str]:
    return {"alertname": name or f"Real{secrets.token_hex(4)}", "severity": "critical", **labels}


def test_an_alert_that_fires_repeats_and_resolves_is_one_episode(trail):
    peer, one = trail.add_peer(repeat_interval="1s"), alert()
    peer.fire(one)
    trail.wait_for_states(["firing"])
    wait_until(lambda: len(trail.deliveries()) >= 2, 10, "it is repeated")

    peer.resolve(one)

    trail.wait_for_states(["resolved"])
    [episode] = trail.episodes()
    assert episode.deliveries >= 3
    assert [step.to_state for step in episode.transitions.all()] == ["firing", "resolved"]
    trail.assert_complete()


def test_a_receiver_that_is_down_while_it_fires_still_gets_one_episode(trail, platform):
    peer, one = trail.add_peer(), alert()
    platform.web.kill()
    peer.fire(one)
    gap = trail.wait_for_gap("outage")
    assert gap.labels == one

    platform.start()

    trail.wait_for_states(["firing"])
    trail.wait_for_no_gap("outage")
    assert trail.closing_of(gap).details == {"how": "arrived late"}
    peer.resolve(one)
    trail.wait_for_states(["resolved"])


def test_a_receiver_that_is_down_for_the_alerts_whole_life_leaves_a_gap(trail, platform):
    peer, one = trail.add_peer(), alert()
    platform.web.kill()
    peer.fire(one)
    wait_until(lambda: trail.seen(one), 10, "the worker has seen it")
    peer.resolve(one)

    gap = trail.wait_for_gap("outage")
    platform.start()

    assert gap.labels == one
    assert trail.episodes() == []
