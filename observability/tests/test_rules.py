"""Every rule parses, every alert is explained, and its tests prove when it fires and when it stays silent."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from observability.render import HERE

RULES, TESTS, RUNBOOKS = HERE / "prometheus/rules", HERE / "prometheus/tests", HERE / "runbooks"

# What the platform exports by contract, and what Prometheus and Alertmanager say about themselves.
CONTRACT = {
    "transactions_total",
    "unknown_outcomes_total",
    "unresolved_transactions",
    "unresolved_oldest_seconds",
    *(f"transaction_latency_seconds_{part}" for part in ("sum", "count", "bucket")),
    *(f"transaction_own_seconds_{part}" for part in ("sum", "count", "bucket")),
    "transaction_amount_sum",
    "transactions_in_progress",
    "gateway_requests_total",
    "fraud_score_bucket",
    "idempotency_requests_total",
    "ledger_transactions_total",
    "ledger_amount_total",
    "kpi_drift",
    "gateway_drift",
    "alert_deliveries_total",
    "up",
    "ALERTS",
    "alertmanager_notifications_failed_total",
}


def load_rules() -> list[dict[str, Any]]:
    files = sorted(RULES.glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALL_RULES = load_rules()
RECORDED = {rule["record"]: rule for rule in ALL_RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
for_each_alert = pytest.mark.parametrize("name", ALERTS)


def metrics_in(expression: str) -> set[str]:
    """The names of the series that a query reads."""
    return set(series_of(promql_parser.parse(expression)))


def series_of(node: Any) -> Iterator[str]:
    if isinstance(node, promql_parser.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql_parser.VectorSelector):
        assert node.name, "a selector without a metric's name reads everything"
        yield node.name
    else:
        children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param")]
        for child in [*children, *getattr(node, "args", [])]:
            if child is not None:
                yield from series_of(child)


def cases(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((TESTS / f"{name}.yml").read_text())["tests"]


def firing(case: dict[str, Any]) -> list[bool]:
    return [bool(check["exp_alerts"]) for check in case["alert_rule_test"]]


def run(*command: str | Path, cwd: Path) -> None:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_its_configuration_and_rules():
    run("promtool", "check", "config", "prometheus.yml", cwd=HERE / "prometheus")


@pytest.mark.parametrize("file", sorted(TESTS.glob("*.yml")), ids=lambda file: file.stem)
def test_the_rules_pass_their_own_tests(file):
    run("promtool", "test", "rules", file.name, cwd=TESTS)


def test_alertmanager_accepts_its_configuration():
    run("amtool", "check-config", "alertmanager.yml", cwd=HERE / "alertmanager")


@for_each_alert
def test_every_alert_says_what_it_is(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "none")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"observability/runbooks/{name}.md"
    assert "for" in rule or name == "Watchdog"


@for_each_alert
def test_every_alert_has_a_runbook(name):
    text = (RUNBOOKS / f"{name}.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)

    assert headings == [name, "Meaning", "Impact", "Diagnosis", "Mitigation"]


@for_each_alert
def test_every_alert_is_proved_to_fire_to_be_silent_and_to_resolve(name):
    kinds: dict[str, list[list[bool]]] = {"fires": [], "just below": [], "low traffic": [], "resolves": []}
    for case in cases(name):
        kind = next(kind for kind in kinds if case["name"].startswith(kind))
        assert {check["alertname"] for check in case["alert_rule_test"]} == {name}
        kinds[kind].append(firing(case))

    assert kinds["fires"]
    assert all(checks[-1] for checks in kinds["fires"])
    if name == "Watchdog":
        return  # it has no threshold
    assert kinds["just below"]
    assert not any(any(checks) for checks in kinds["just below"])
    assert kinds["resolves"]
    assert all(checks[0] and not checks[-1] for checks in kinds["resolves"])
    if "ratio" in ALERTS[name]["expr"]:
        assert kinds["low traffic"]
        assert not any(any(checks) for checks in kinds["low traffic"])


def test_no_test_or_runbook_is_left_of_an_alert_that_is_gone():
    assert {file.stem for file in RUNBOOKS.glob("*.md")} == set(ALERTS)
    assert {file.stem for file in TESTS.glob("*.yml")} == {*ALERTS, "kpi"}


@pytest.mark.parametrize("name", [*RECORDED, *ALERTS])
def test_a_rule_reads_nothing_but_recorded_kpis_and_the_metrics_of_the_contract(name):
    rule = RECORDED.get(name) or ALERTS[name]

    assert metrics_in(rule["expr"]) <= CONTRACT | set(RECORDED)


@pytest.mark.parametrize("runbook", sorted(RUNBOOKS.glob("*.md")), ids=lambda file: file.stem)
def test_the_queries_of_a_runbook_parse_and_read_metrics_that_exist(runbook):
    queries = [line.strip() for line in runbook.read_text().splitlines() if line.startswith("    ")]
    for query in queries:
        if not query.startswith("curl "):
            assert metrics_in(query) <= CONTRACT | set(RECORDED)


def test_every_recorded_kpi_has_a_test_with_numbers():
    proved = {sample["expr"] for case in cases("kpi") for sample in case["promql_expr_test"]}

    assert [name for name in RECORDED if not any(name in expression for expression in proved)] == []


def test_the_documentation_names_every_alert_and_kpi_and_no_other():
    text = (HERE.parent / "docs/alerts.md").read_text()

    assert set(re.findall(r"runbooks/(\w+)\.md", text)) == set(ALERTS)
    assert set(re.findall(r"`(kpi:[\w:]+)`", text)) == set(RECORDED)
