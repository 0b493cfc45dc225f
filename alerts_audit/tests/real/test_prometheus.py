"""Alerts that the real Prometheus makes: its ALERTS lack what webhooks carry, and remember what no poll saw."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts_audit.tests.real.rig import ALERTMANAGER, PROMETHEUS, QUICK, Scene, scene
from fintech.testing.processes import Platform, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not (ALERTMANAGER and PROMETHEUS), reason="Prometheus and Alertmanager are not both installed"),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform"), workers=1, env=QUICK) as platform:
        yield platform


@pytest.fixture
def trail(platform: Platform, tmp_path: Path) -> Iterator[Scene]:
    with scene(platform, tmp_path) as trail:
        yield trail


def test_an_alert_of_prometheus_is_known_again_by_its_external_labels(trail):
    prometheus, name = trail.add_prometheus(trail.add_peer()), f"Real{secrets.token_hex(4)}"
    prometheus.fire(name)

    trail.wait_for_states(["firing"])
    [episode] = trail.episodes()
    assert episode.identity.labels == {"alertname": name, "severity": "critical", "region": "north"}
    prometheus.resolve(name)
    trail.wait_for_states(["resolved"])
    trail.assert_complete()


def test_an_alert_during_an_outage_of_alertmanager_and_worker_is_found_afterwards(trail, platform):
    peer, name = trail.add_peer(), f"Real{secrets.token_hex(4)}"
    prometheus = trail.add_prometheus(peer)
    wait_until(lambda: trail.polls() == {"alertmanager", "prometheus", "notifications"}, 30, "the worker has asked")
    platform.worker.kill()
    peer.program.kill()

    prometheus.fire(name)
    prometheus.resolve(name)
    platform.start()

    gap = trail.wait_for_gap("outage")
    assert gap.labels == {"alertname": name, "severity": "critical", "region": "north"}
    assert gap.details["seen_by"] == "prometheus"
    assert gap.details["ended"]
    assert trail.episodes() == []
    source = f'source="{trail.names()[0]}"'
    metrics = wait_until(lambda: metrics_of_the_leader(platform), 30, "the worker exports the trail")
    assert metrics[f'alert_poll_errors_total{{kind="alertmanager",{source}}}'] > 0
    assert metrics[f'alert_poll_errors_total{{kind="prometheus",{source}}}'] == 0


def metrics_of_the_leader(platform: Platform) -> dict[str, float] | None:
    metrics = platform.scrape(platform.worker_port)
    return metrics if metrics.get('audit_gaps_open{reason="outage"}') else None
