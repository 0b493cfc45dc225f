"""Receivers and inhibition of every alert, according to amtool and to the real Alertmanager."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from fintech.testing.processes import request, wait_until
from observability.render import HERE
from observability.tests.alertmanager import running_alertmanager
from observability.tests.test_rules import ALERTS, ALL_RULES, run

pytestmark = pytest.mark.processes

# Severity -> receivers.
RECEIVERS = {"none": "audit", "warning": "ticket,audit", "critical": "page,audit"}
TOPICS = {rule["labels"]["topic"] for rule in ALL_RULES if "topic" in rule.get("labels", {})}
CONFIGURATION = yaml.safe_load((HERE / "alertmanager/alertmanager.yml").read_text())


def labels_of(name: str, **more: str) -> dict[str, str]:
    return {"alertname": name, **ALERTS[name]["labels"], **more}


# --- Routes ------------------------------------------------------------------------------------------------------


def test_alertmanager_accepts_its_configuration():
    run("amtool", "check-config", "alertmanager.yml", cwd=HERE / "alertmanager")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_goes_to_the_trail_and_to_people_by_its_severity(name):
    labels = labels_of(name)
    words = [f"{label}={value}" for label, value in labels.items()]
    expected = f"--verify.receivers={RECEIVERS[labels['severity']]}"

    run(
        "amtool",
        "config",
        "routes",
        "test",
        "--config.file=alertmanager.yml",
        expected,
        *words,
        cwd=HERE / "alertmanager",
    )


@pytest.mark.parametrize("labels", [["alertname=Stranger"], ["alertname=Stranger", "severity=page"]])
def test_an_alert_of_another_system_goes_to_the_trail(labels):
    command = ["amtool", "config", "routes", "test", "--config.file=alertmanager.yml", "--verify.receivers=audit"]
    run(*command, *labels, cwd=HERE / "alertmanager")


def test_the_trail_gets_everything_and_what_is_resolved():
    [webhook] = CONFIGURATION["receivers"][0]["webhook_configs"]

    assert CONFIGURATION["route"]["receiver"] == "audit"
    assert CONFIGURATION["route"]["routes"][-1] == {"receiver": "audit"}  # without a condition
    assert webhook["send_resolved"] is True
    assert webhook["max_alerts"] == 0
    assert webhook["http_config"]["follow_redirects"] is False


def test_nothing_is_muted():
    assert "mute_time" not in (HERE / "alertmanager/alertmanager.yml").read_text().split("templates:")[1]


# --- Inhibition --------------------------------------------------------------------------------------------------


@dataclass
class Alertmanager:
    port: int

    @contextmanager
    def firing(self, *alerts: dict[str, str]) -> Iterator[None]:
        """Fire these alerts while the block runs, then resolve them."""
        try:
            self._post(alerts)
            yield
        finally:
            self._post(alerts, endsAt=datetime.now(UTC).isoformat())

    def _post(self, alerts: Iterable[dict[str, str]], **more: str) -> None:
        assert (
            request(self.port, "POST", "/api/v2/alerts", [{"labels": labels, **more} for labels in alerts]).status
            == 200
        )

    def states(self, case: str) -> dict[str, str]:
        """Return `active` or `inhibited` for each alert with this label `case`."""
        alerts: list[dict[str, Any]] = request(self.port, "GET", f'/api/v2/alerts?filter=case%3D"{case}"').body
        return {
            named(alert["labels"]): "inhibited" if alert["status"]["inhibitedBy"] else alert["status"]["state"]
            for alert in alerts
        }


def named(labels: dict[str, str]) -> str:
    """Return the alert's name. Alerts on missing metrics differ by the metric."""
    return labels.get("metric", labels["alertname"])


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory) -> Iterator[Alertmanager]:
    with running_alertmanager(tmp_path_factory.mktemp("alertmanager")) as port:
        yield Alertmanager(port)


AVAILABILITY = {"slo": "payment-availability", "topic": "availability"}
WEB, GATEWAY = {"service": "web", "instance": "web"}, {"service": "gateway", "instance": "gateway"}
DISK = {"instance": "node:9100", "mountpoint": "/"}
# Each required metric and the job that exports it, from the rule.
REQUIRED = {
    metric: job
    for job, metric in re.findall(r'absent\(\w+\{job="(\w+)".*"metric", "(\w+)"', ALERTS["MetricMissing"]["expr"])
}


def missing(*jobs: str) -> list[tuple[str, dict[str, str]]]:
    """Return the alerts on all metrics of these jobs."""
    return [("MetricMissing", {"metric": metric, "job": job}) for metric, job in REQUIRED.items() if job in jobs]


# (firing alert, inhibited alerts, alerts that must stay active); each by name and further labels.
INHIBITION: list[
    tuple[tuple[str, dict[str, str]], list[tuple[str, dict[str, str]]], list[tuple[str, dict[str, str]]]]
] = [
    (
        ("PaymentErrorRatioHigh", {}),
        [("GatewayErrorRatioHigh", {}), ("ErrorBudgetBurnFast", AVAILABILITY), ("ErrorBudgetBurnSlow", AVAILABILITY)],
        [("RequestErrorRatioHigh", {}), ("DeclineRatioHigh", {}), ("KpiDrift", {}), ("UnresolvedTransactionOld", {})],
    ),
    (("ErrorBudgetBurnFast", AVAILABILITY), [("ErrorBudgetBurnSlow", AVAILABILITY)], [("DeclineRatioHigh", {})]),
    (
        ("PaymentsStopped", {}),
        [("TransactionRateDrop", {}), ("RevenueDrop", {"currency": "EUR"})],
        [("PaymentErrorRatioHigh", {})],
    ),
    (("TransactionRateDrop", {}), [("RevenueDrop", {"currency": "EUR"})], [("DeclineRatioHigh", {})]),
    (
        ("GatewayTimeoutRatioHigh", {}),
        [("PaymentLatencyHigh", {}), ("PaymentsSaturated", {}), ("UnresolvedTransactionsMany", {})],
        [("UnresolvedTransactionOld", {}), ("DeclineRatioHigh", {})],
    ),
    (
        ("DatabaseDown", {"instance": "db"}),
        [
            ("ServiceDown", WEB),
            ("KpiDrift", {}),  # by ServiceDown
            ("RequestErrorRatioHigh", {}),
            ("PaymentsStopped", {}),
            ("WorkerJobFailing", {"exported_job": "resolve"}),
            ("NotificationsFailing", {"integration": "webhook"}),
            ("AuditSealStale", {}),
            ("DatabaseConnectionsHigh", {"instance": "db"}),
            ("ExporterDown", {"instance": "db", "job": "postgres"}),
            ("TargetFlapping", {"instance": "db", "job": "postgres"}),
            *missing("web", "worker"),
        ],
        [
            *missing("alertmanager", "probe", "postgres", "node"),
            ("DiskSpaceCritical", DISK),
            ("AuditBroken", {}),
            ("WebhookUnauthorized", {}),
        ],
    ),
    (
        ("DatabaseDown", {"instance": "db"}),
        [],
        [("ServiceDown", GATEWAY)],  # which fires for minutes after a restart of the database
    ),
    (
        ("ServiceDown", WEB),
        [
            *missing("web", "worker"),
            ("PaymentsStopped", {}),
            ("NotificationsFailing", {"integration": "webhook"}),
            ("HeartbeatMissing", {}),
        ],
        [
            *missing("alertmanager", "probe", "postgres", "node"),
            ("AuditBroken", {}),
            ("GatewayDrift", {}),
            ("UnresolvedTransactionOld", {}),
            ("DiskSpaceCritical", DISK),
        ],
    ),
    (
        ("AuditSealStale", {}),
        [("WorkerJobFailing", {"exported_job": "seal"})],
        [("AlertProjectionLagging", {}), ("AuditUnverified", {})],
    ),
    (
        ("AuditSealStale", {}),
        [],
        [("WorkerJobFailing", {"exported_job": "drift"})],
    ),
    (
        ("AlertProjectionLagging", {}),
        [("WorkerJobFailing", {"exported_job": "project"})],
        [("AuditSealStale", {})],
    ),
    (
        ("AuditBroken", {}),
        [("AuditUnverified", {})],
        [("AuditSealStale", {}), ("KpiDrift", {})],
    ),
    (
        ("ServiceDown", GATEWAY),
        [
            ("PaymentErrorRatioHigh", {}),
            ("UnresolvedTransactionOld", {}),
            ("MetricMissing", {"metric": "gateway_drift", "job": "worker"}),
            ("WorkerJobFailing", {"exported_job": "gateway_drift"}),
        ],
        [("NotificationsFailing", {}), ("KpiDrift", {})],
    ),
    (("ServiceDown", GATEWAY), [], [("WorkerJobFailing", {"exported_job": "compare"})]),
    (
        ("TargetDown", {"job": "web", "instance": "metrics:9464", "targets": "all"}),
        [
            *missing("web"),
            ("MetricMissing", {"metric": "kpi_drift", "job": "worker"}),
            ("WorkerJobFailing", {"exported_job": "drift"}),
        ],
        [
            *[alert for alert in missing("worker", "alertmanager", "probe") if alert[1]["metric"] != "kpi_drift"],
            ("UnresolvedTransactionOld", {}),
            ("PaymentErrorRatioHigh", {}),
            ("AuditBroken", {}),
        ],
    ),
    (
        ("TargetDown", {"job": "web", "instance": "metrics:9464", "targets": "all"}),
        [],
        [("WorkerJobFailing", {"exported_job": "compare"})],
    ),
    (
        ("TargetDown", {"job": "web", "instance": "web-2:9464"}),
        [("KpiUncompared", {})],
        [("KpiDrift", {}), *missing("web", "worker"), ("PaymentsStopped", {})],
    ),
    (
        ("TargetDown", {"job": "worker", "instance": "worker:9465", "targets": "all"}),
        [
            ("UnresolvedTransactionOld", {}),
            ("AuditSealStale", {}),
            ("GatewayDrift", {"currency": "EUR"}),
            ("LedgerImbalance", {"currency": "EUR"}),
            *missing("worker"),
        ],
        [*missing("web", "alertmanager", "probe"), ("PaymentErrorRatioHigh", {}), ("PaymentsStopped", {})],
    ),
    (
        ("TargetDown", {"job": "worker", "instance": "worker-2:9465"}),
        [],
        [
            ("LedgerImbalance", {"currency": "EUR"}),
            ("AuditSealStale", {}),
            ("WorkerJobFailing", {"exported_job": "compare"}),
        ],
    ),
    (
        ("TargetDown", {"job": "alertmanager", "instance": "alertmanager:9093", "targets": "all"}),
        [("HeartbeatMissing", {}), ("AlertsDropped", {}), *missing("alertmanager")],
        [*missing("web", "worker", "probe"), ("PaymentErrorRatioHigh", {}), ("KpiDrift", {})],
    ),
    (("TargetDown", {"job": "alertmanager", "instance": "alertmanager-2:9093"}), [], [("HeartbeatMissing", {})]),
    (("ExporterDown", {"job": "loki"}), [("ProbeFailing", {"service": "loki"})], [("DiskSpaceLow", DISK)]),
    (("ExporterDown", {"job": "node"}), [], [("ProbeFailing", {"service": "grafana"})]),
    (
        ("MetricMissing", {"metric": "probe_success", "job": "probe"}),
        [("ExporterDown", {"job": "blackbox"})],
        [("MemoryLow", {})],
    ),
    (("DiskSpaceCritical", DISK), [("DiskSpaceLow", DISK)], [("MemoryLow", {"instance": "node:9100"})]),
]


@pytest.mark.parametrize(
    ("source", "silenced", "left"), INHIBITION, ids=[f"{number}-{case[0][0]}" for number, case in enumerate(INHIBITION)]
)
def test_a_cause_silences_its_symptoms_and_nothing_else(alertmanager, request, source, silenced, left):
    case = request.node.name
    alerts = [labels_of(name, **{"case": case, **more}) for name, more in [source, *silenced, *left]]
    names = {
        **{named({"alertname": name, **more}): "active" for name, more in [source, *left]},
        **{named({"alertname": name, **more}): "inhibited" for name, more in silenced},
    }

    with alertmanager.firing(*alerts):
        wait_until(lambda: alertmanager.states(case) == names, 10, f"{names}")


def test_another_disk_of_the_machine_is_not_silenced(alertmanager):
    other = {**DISK, "mountpoint": "/data"}
    alerts = (labels_of("DiskSpaceCritical", case="disks", **DISK), labels_of("DiskSpaceLow", case="disks", **other))

    with alertmanager.firing(*alerts):
        wait_until(lambda: len(alertmanager.states("disks")) == 2)
        assert alertmanager.states("disks")["DiskSpaceLow"] == "active"


def test_a_target_has_one_active_alert_if_no_target_of_its_job_answers(alertmanager):
    """Give worker-1 both alerts, and worker-2 one: another worker answered until a moment ago."""
    one = labels_of("TargetDown", case="targets", job="worker", instance="worker-1:9465")
    other = one | {"instance": "worker-2:9465"}
    url = "/api/v2/alerts?active=true&inhibited=false&filter=case%3D%22targets%22"

    with alertmanager.firing(one, one | {"targets": "all"}, other):
        wait_until(
            lambda: (
                sorted(
                    (alert["labels"]["instance"], alert["labels"].get("targets", ""))
                    for alert in request(alertmanager.port, "GET", url).body
                )
                == [("worker-1:9465", "all"), ("worker-2:9465", "")]
            )
        )


def test_every_inhibition_rule_names_alerts_and_topics_that_exist():
    matchers = [
        matcher
        for rule in CONFIGURATION["inhibit_rules"]
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]
    ]
    for matcher in matchers:
        label, _, value = matcher.partition(" ")
        words = value.lstrip("=!~ ").strip('"').split("|")
        if label == "topic":
            assert set(words) <= TOPICS
        if label == "alertname" and ".*" not in value:
            assert set(words) <= set(ALERTS)
