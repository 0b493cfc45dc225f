"""Metrics of the trail in the leading worker."""

import secrets
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from alerts_audit.completeness.heartbeat import Heartbeats
from alerts_audit.gaps import close_gap, open_gap
from alerts_audit.models import Episode, Gap, Verification
from alerts_audit.projection import project_pending
from alerts_audit.seal.sealer import seal
from alerts_audit.sources import metrics as source_metrics
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery
from alerts_audit.worker import jobs, metrics
from alerts_audit.worker.metrics import TrailCollector, read_trail
from fintech.jobs import Leader


class Beats(Heartbeats):
    """The heartbeat of one source."""

    def __init__(self) -> None:
        super().__init__()
        self._beats, self._limits = {"peer-1": datetime.now(UTC) - timedelta(seconds=12)}, {"peer-1": 300.0}


class Exported:
    """The collector of a worker that leads, or does not."""

    def __init__(self, *, leading: bool = True) -> None:
        leader = Leader()
        leader.leading = leading
        self.registry = CollectorRegistry()
        self.collector = TrailCollector(leader, Beats())
        self.registry.register(self.collector)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def names(self) -> set[str]:
        return {sample.name for family in self.registry.collect() for sample in family.samples}


@pytest.fixture
def exported() -> Exported:
    found = Exported()
    found.collector.refresh()
    return found


def test_every_value_of_every_label_begins_at_a_number(exported):
    for reason in Gap.Reason.values:
        assert exported.value("audit_gaps_open", reason=reason) is not None
    for state in Episode.State.values:
        assert exported.value("alert_transitions_total", state=state) is not None
    for severity in ("critical", "warning", "info", "none", "other"):
        assert exported.value("alert_episodes_open", severity=severity) is not None


def test_all_metrics_of_the_contract_are_there(exported):
    assert exported.names() == {
        "alert_projection_lag_seconds",
        "alert_projection_pending",
        "alert_quarantined_deliveries",
        "alert_episodes_open",
        "alert_transitions_total",
        "audit_unsealed_leaves",
        "audit_tree_size",
        "audit_last_seal_timestamp_seconds",
        "audit_last_verification_timestamp_seconds",
        "audit_verification_findings",
        "audit_gaps_open",
        "alert_heartbeat_age_seconds",
        "alert_heartbeat_limit_seconds",
    }
    assert exported.value("alert_heartbeat_age_seconds", source="peer-1") == pytest.approx(12, abs=5)
    assert exported.value("alert_heartbeat_limit_seconds", source="peer-1") == 300


def test_a_worker_that_does_not_lead_exports_nothing():
    follower = Exported(leading=False)
    follower.collector.refresh()

    assert follower.names() == set()


def test_an_unreadable_state_has_no_old_value(exported, monkeypatch):
    monkeypatch.setattr(metrics, "PENDING", "SELECT 1/0")

    with pytest.raises(Exception, match="division"):
        exported.collector.refresh()

    assert exported.names() == set()


def test_a_second_leadership_begins_without_old_values(monkeypatch):
    registry = CollectorRegistry()
    for counter in (source_metrics.DELIVERIES, source_metrics.ALERTS):
        registry.register(counter)
    monkeypatch.setattr(jobs, "REGISTRY", registry)
    worker: Any = SimpleNamespace(leader=Leader())
    runs = {job.name: job.run for job in jobs.jobs(worker)}
    runs["heartbeat"]()
    runs["trail"]()
    worker.leader.leading = True
    assert list(registry.collect())

    for prepare in worker.leader.before_leading:
        prepare()

    assert list(registry.collect()) == []


def test_open_gaps_are_counted_by_reason():
    before = read_trail().open_gaps.get("silenced", 0)
    subject = f"test {secrets.token_hex(12)}"
    open_gap(reason="silenced", subject=subject, since=datetime.now(UTC))
    assert read_trail().open_gaps["silenced"] == before + 1

    close_gap(reason="silenced", subject=subject, until=datetime.now(UTC))

    assert read_trail().open_gaps.get("silenced", 0) == before


def deliver(body: bytes) -> None:
    record_delivery(source="alertmanager", body=body)


def test_a_delivery_is_pending_then_projected_then_sealed():
    seal()
    before = read_trail()
    deliver(alertmanager_body(f"Metrics{secrets.token_hex(4)}"))
    waiting = read_trail()
    assert waiting.pending > 0
    assert waiting.lag_seconds > 0
    assert waiting.unsealed > 0

    project_pending()
    seal()

    after = read_trail()
    assert after.transitions["firing"] > before.transitions.get("firing", 0)
    assert after.tree_size > before.tree_size
    assert after.sealed_at > before.sealed_at


def test_an_unreadable_delivery_is_counted():
    project_pending()
    before = read_trail().quarantined
    deliver(b"no payload")
    project_pending()

    assert read_trail().quarantined == before + 1


def test_the_last_verification_that_found_nothing_keeps_its_time():
    good = Verification.objects.create(seconds=1, tree_size=1, covered={}, findings=[])
    bad = Verification.objects.create(seconds=1, tree_size=1, covered={}, findings=[{"a": 1}, {"b": 2}])
    good.refresh_from_db()

    trail = read_trail()

    assert bad.pk > good.pk
    assert trail.verified_at == good.at
    assert trail.findings == 2
    Verification.objects.create(seconds=1, tree_size=1, covered={}, findings=[])
    assert read_trail().findings == 0


def test_the_lag_grows_between_two_readings(exported, monkeypatch):
    exported.collector._trail.pending, exported.collector._trail.lag_seconds = 1, 5.0
    exported.collector._read_at -= 10

    assert exported.value("alert_projection_lag_seconds") == pytest.approx(15, abs=1)


def test_an_unknown_severity_gets_no_label_of_its_own():
    before = read_trail().open_episodes.get("other", 0)
    body = alertmanager_body(f"Metrics{secrets.token_hex(4)}").replace(b'"critical"', b'"odd"')
    deliver(body)
    project_pending()

    after = read_trail().open_episodes
    assert set(after) <= {"critical", "warning", "info", "none", "other"}
    assert after.get("other", 0) == before + 1


def test_transitions_are_counted_once():
    deliver(alertmanager_body(f"Metrics{secrets.token_hex(4)}"))
    project_pending()

    assert read_trail().transitions == read_trail().transitions
