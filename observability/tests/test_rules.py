"""Every rule parses, every alert is documented, and its tests show when it fires and when it stays silent."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from alerts_audit.admin.dashboard import VERIFIED_WITHIN
from alerts_audit.seal.verify.rows import GRACE
from fintech.testing.processes import IN_FULL
from observability.render import HERE, prometheus_command
from payments.urls import urlpatterns

RULES, TESTS, RUNBOOKS = HERE / "prometheus/rules", HERE / "prometheus/tests", HERE / "runbooks"

# Commands in runbooks, besides queries.
COMMANDS = ("curl", "docker", "du", "make", "openssl", "promtool", "psql", "python", "amtool")
# Ratios, quantiles and rates are not meaningful with few events.
NEEDS_TRAFFIC = re.compile(r"ratio_rate|:p95_|:rate5m|per_minute5m|burn_rate|\brate\(")
# The files with recording rules. Each has its own test.
RECORDING = ("kpi", "kpi_before", "slo")
DOCUMENT = HERE.parent / "docs/alert-rules.md"


def load_rules() -> list[dict[str, Any]]:
    files = sorted(RULES.glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALL_RULES = load_rules()
RECORDED = {rule["record"]: rule for rule in ALL_RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
for_each_alert = pytest.mark.parametrize("name", ALERTS)


def metrics_in(expression: str) -> set[str]:
    """Return the names of the series that a query reads."""
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


@cache
def cases(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((TESTS / f"{name}.yml").read_text())["tests"]


def cases_by_kind(name: str) -> dict[str, list[list[bool]]]:
    """Return the test cases of an alert by kind: for each case, True where the alert fires at an evaluation time."""
    kinds: dict[str, list[list[bool]]] = {"fires": [], "just below": [], "low traffic": [], "resolves": []}
    for case in cases(name):
        kind = next(kind for kind in kinds if case["name"].startswith(kind))
        assert {check["alertname"] for check in case["alert_rule_test"]} == {name}
        kinds[kind].append(firing(case))
    return kinds


def firing(case: dict[str, Any]) -> list[bool]:
    return [bool(check["exp_alerts"]) for check in case["alert_rule_test"]]


def run(*command: str | Path, cwd: Path) -> None:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.processes
def test_prometheus_accepts_its_configuration_and_rules():
    run("promtool", "check", "config", "prometheus.yml", cwd=HERE / "prometheus")


def behind(expressions: Iterable[str]) -> set[str]:
    """Return the recorded series that expressions read, directly and indirectly."""
    names = set().union(*map(metrics_in, expressions)) & set(RECORDED)
    return names | behind([rule["expr"] for rule in ALL_RULES if rule.get("record") in names]) if names else names


def copy_with_its_rules(test: Path, folder: Path) -> Path:
    """Copy a test with only its alert and the series behind it, or with all recorded series if it tests those."""
    names = {test.stem} | behind([ALERTS[test.stem]["expr"]]) if test.stem in ALERTS else set(RECORDED)
    for place in ("rules", "tests"):
        (folder / test.stem / place).mkdir(parents=True)
    for name in yaml.safe_load(test.read_text())["rule_files"]:
        document = yaml.safe_load((TESTS / name).read_text())
        for group in document["groups"]:
            group["rules"] = [rule for rule in group["rules"] if names & {rule.get("alert"), rule.get("record")}]
        (folder / test.stem / "tests" / name).write_text(yaml.safe_dump(document))
    return Path(shutil.copy(test, folder / test.stem / "tests"))


@pytest.mark.processes
@pytest.mark.slow
def test_the_rules_pass_their_own_tests(tmp_path):
    """promtool evaluates every rule of a file at every step, so without `PROVE` only the tested rules are copied.

    Two halves run in parallel, because the evaluation takes long.
    """
    files = sorted(TESTS.glob("*.yml"))
    if not IN_FULL:
        files = [copy_with_its_rules(file, tmp_path) for file in files]
    with ThreadPoolExecutor() as pool:
        for half in [pool.submit(run, "promtool", "test", "rules", *files[n::2], cwd=TESTS) for n in (0, 1)]:
            half.result()


@pytest.mark.processes
def test_the_blackbox_exporter_accepts_its_configuration():
    run("prometheus-blackbox-exporter", "--config.check", "--config.file=blackbox.yml", cwd=HERE / "blackbox")


# --- Alerts ------------------------------------------------------------------------------------------------------


@for_each_alert
def test_every_alert_says_what_it_is(name):
    rule = ALERTS[name]
    annotations = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning", "none")
    assert annotations["summary"].endswith(".")
    assert annotations["description"].endswith((".", ")."))
    assert annotations["runbook_url"] == f"observability/runbooks/{name}.md"
    assert name == "Watchdog" or "for" in rule


@for_each_alert
def test_every_alert_leads_to_a_dashboard_that_exists(name):
    uid = ALERTS[name]["annotations"]["dashboard_url"].removeprefix("http://127.0.0.1:3000/d/")

    assert list((HERE / "grafana/dashboards").rglob(f"{uid}.json"))


@for_each_alert
def test_every_alert_has_a_topic_that_inhibition_can_name(name):
    # An alert on an objective inherits the topic of the objective.
    has_topic = "topic" in ALERTS[name]["labels"] or "slo:" in ALERTS[name]["expr"]
    assert has_topic != (name == "Watchdog")


@for_each_alert
def test_a_comment_explains_each_threshold(name):
    [text] = [file.read_text() for file in RULES.glob("*.yml") if f"alert: {name}\n" in file.read_text()]
    block = text.split(f"alert: {name}\n")[1].split("annotations:")[0]

    assert re.search(r"^\s+# \w.{20,}", block, re.MULTILINE)


@for_each_alert
def test_every_alert_is_proved_to_fire_to_be_silent_and_to_resolve(name):
    kinds = cases_by_kind(name)

    assert kinds["fires"]
    assert all(checks[-1] for checks in kinds["fires"])
    if name == "Watchdog":
        return  # always fires
    assert kinds["just below"]
    assert kinds["resolves"]
    assert all(checks[0] and not checks[-1] for checks in kinds["resolves"])
    assert kinds["low traffic"] or not NEEDS_TRAFFIC.search(ALERTS[name]["expr"])
    assert not any(any(checks) for checks in kinds["just below"] + kinds["low traffic"])


@for_each_alert
def test_every_alert_is_tested_while_pending(name):
    """A test evaluates the alert while it is pending, so a missing `for` fails."""
    if name != "Watchdog":
        assert any(not checks[0] and checks[-1] for checks in cases_by_kind(name)["fires"])


def test_the_alert_on_the_database_outlasts_the_one_on_the_web_that_it_silences():
    # The web is ready shortly after the database, so the inhibiting alert must not resolve first.
    minutes = {name: int(ALERTS[name]["keep_firing_for"].removesuffix("m")) for name in ("DatabaseDown", "ServiceDown")}
    assert minutes["DatabaseDown"] >= minutes["ServiceDown"] + 2


@pytest.mark.parametrize(
    ("setting", "alert", "reader"),
    [("AUDIT_SEAL_SECONDS", "AuditSealStale", GRACE), ("AUDIT_VERIFY_SECONDS", "AuditUnverified", VERIFIED_WITHIN)],
)
def test_no_interval_that_can_be_set_causes_an_alert(setting, alert, reader):
    settings = (HERE.parent / "fintech/settings.py").read_text()
    [longest] = re.findall(rf'"{setting}", \d+, least=1, most=(\d+)', settings)
    [age] = re.findall(r"(\d+) # seconds", ALERTS[alert]["expr"])

    assert int(longest) < int(age) == reader.total_seconds()


def test_each_required_metric_has_the_job_that_exports_it_which_inhibition_reads():
    jobs = {job["job_name"] for job in yaml.safe_load((RULES.parent / "prometheus.yml").read_text())["scrape_configs"]}
    required = re.findall(r'absent\(\w+(?:\{job="(\w+)")?', ALERTS["MetricMissing"]["expr"])

    assert len(required) == ALERTS["MetricMissing"]["expr"].count("absent(")
    assert set(required) <= jobs


def test_no_test_is_left_of_an_alert_that_is_gone():
    assert {file.stem for file in TESTS.glob("*.yml")} == {*ALERTS, *RECORDING}


# --- Recorded series ---------------------------------------------------------------------------------------------


def test_every_recorded_series_has_a_test_with_numbers():
    proved = {sample["expr"] for file in RECORDING for case in cases(file) for sample in case["promql_expr_test"]}

    assert [name for name in RECORDED if not any(name in expression for expression in proved)] == []


def test_requests_to_the_payments_api_are_all_of_those_about_payments():
    about_payments = re.compile(r"v1/transactions\b|transaction$")
    names = {route.name for route in urlpatterns if about_payments.match(str(route.pattern))}
    selections = [views for rule in ALL_RULES for views in re.findall(r'\bview=~"([^"]+)"', rule["expr"])]

    assert {"transactions", "captures", "void", "review", "refunds", "batch"} < names
    assert len(selections) == 5
    for views in selections:
        assert {route.name for route in urlpatterns if re.fullmatch(views, route.name)} == names


def test_prometheus_keeps_all_that_a_rule_looks_back_on(tmp_path):
    longest = max(int(days) for rule in ALL_RULES for days in re.findall(r"(?:\[|offset )(\d+)d\b", rule["expr"]))
    compose = yaml.safe_load((HERE.parent / "docker-compose.yml").read_text())["services"]["prometheus"]["command"]
    on_one_machine = prometheus_command(tmp_path, tmp_path, "127.0.0.1:0") or []

    for command in (compose, on_one_machine):
        kept = [int(days) for days in re.findall(r"--storage.tsdb.retention.time=(\d+)d\b", " ".join(command))]
        assert all(days > longest for days in kept), f"{kept} days are kept, rules look back {longest}"
        assert kept or not command


def test_every_objective_has_its_three_series():
    rules = [rule for rule in ALL_RULES if "slo" in rule.get("labels", {})]
    objectives = {rule["labels"]["slo"] for rule in rules}

    assert objectives == {"payment-availability", "payment-latency", "alert-delivery"}
    for objective in objectives:
        recorded = [rule["record"] for rule in rules if rule["labels"]["slo"] == objective]
        assert recorded == ["slo:objective:ratio", "slo:events:rate5m", "slo:bad_events:rate5m"]


# --- Runbooks ----------------------------------------------------------------------------------------------------


@for_each_alert
def test_every_alert_has_a_runbook(name):
    text = (RUNBOOKS / f"{name}.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)

    assert headings == [name, "Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(len(section.strip()) > 40 for section in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:])


def test_the_runbook_of_failing_jobs_has_the_impact_of_each_job():
    folders = [HERE.parent / folder for folder in ("fintech", "payments", "alerts_audit")]
    code = [path.read_text() for folder in folders for path in folder.rglob("*.py") if "tests" not in path.parts]
    jobs = {name for text in code for name in re.findall(r"\bJob\(\"(\w+)\"", text)}
    impact = (RUNBOOKS / "WorkerJobFailing.md").read_text().split("## ")[2]

    assert len(jobs) > 20
    assert {name for line in impact.splitlines() for name in re.findall(r"`(\w+)`", line.partition(":")[0])} == jobs


def test_no_runbook_is_left_of_an_alert_that_is_gone():
    assert {file.stem for file in RUNBOOKS.glob("*.md")} == set(ALERTS)


@for_each_alert
def test_a_runbook_has_a_query_or_command_and_its_queries_parse(name):
    lines = [line.strip() for line in (RUNBOOKS / f"{name}.md").read_text().splitlines() if line.startswith("    ")]

    assert lines or name == "Watchdog"
    for query in lines:
        if not query.startswith(COMMANDS):
            assert metrics_in(query)


@for_each_alert
def test_a_runbook_names_alerts_that_exist(name):
    named = re.findall(r"[Ss]ee ([A-Z]\w+[a-z][A-Z]\w+)", (RUNBOOKS / f"{name}.md").read_text())

    assert set(named) <= set(ALERTS)


# --- The document ------------------------------------------------------------------------------------------------


def test_the_documentation_names_every_alert_and_kpi_and_no_other():
    text = DOCUMENT.read_text()

    assert sorted(re.findall(r"runbooks/(\w+)\.md\) \|", text)) == sorted(ALERTS)
    assert set(re.findall(r"`(kpi:[\w:]+|slo:[\w:]+)`", text)) == set(RECORDED)


def test_the_documentation_names_the_severity_of_every_alert():
    documented = dict(re.findall(r"runbooks/(\w+)\.md\) \| (\w+) \|", DOCUMENT.read_text()))

    assert documented == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
