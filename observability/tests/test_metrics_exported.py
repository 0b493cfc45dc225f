"""The running platform exports every metric that rules, panels or documents name, and every panel shows data."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from loadtests.drill.monitoring import EXPORTERS
from observability.render import HERE
from observability.tests.lab import Lab
from observability.tests.panels import DASHBOARDS, FOREIGN, FOREIGN_NAMES, GRAFANA, IN_PROMETHEUS, TWINS, asked
from observability.tests.test_rules import ALERTS, ALL_RULES, RECORDED, metrics_in

pytestmark = pytest.mark.processes

ROOT = HERE.parent
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(HERE.glob("runbooks/*.md"))]

# Endings of metric names in documents, outside of queries.
SUFFIXES = "total|seconds|sum|count|bucket|bytes|info|drift"
METRIC = re.compile(rf"(?<![\w./-])[a-z][a-z0-9]*(?:_[a-z0-9]+)*_(?:{SUFFIXES})(?![\w./-])")
# Marks of a query: a function, a label, a comparison with a number, the colons of a recorded name.
QUERY = re.compile(r"\b(sum|avg|min|max|count|topk|rate|increase|delta|changes|time)\b.*\(|=~?\"|[=!<>] \d|(kpi|slo):")

# Metrics that rules or panels read, but that ordinary traffic does not create. A test fails as soon as one of them
# exists in ordinary traffic.
ONLY_AFTER = {
    "dispute_response_due_timestamp_seconds": "a dispute needs a response",
    "review_expiry_timestamp_seconds": "a payment is in review",
    "django_db_errors_total": "a statement fails",
    "probe_ssl_earliest_cert_expiry": "an address with TLS is probed",
    "kpi:transactions:rate5m_before": "a day",
    "kpi:revenue:per_minute5m_before": "a day",
    "kpi:sales:rate5m_before": "a day",
}
# Prefix -> exporter that must be installed for these metrics.
PREFIXES = {"node_": "node", "pg_": "postgres", "probe_": "blackbox"}

# The variables of the dashboards, and their annotations.
VARIABLES = sorted(
    re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
    for dashboard in DASHBOARDS.values()
    for variable in dashboard["templating"]["list"]
)
MARKS = sorted({mark["expr"] for dashboard in DASHBOARDS.values() for mark in dashboard["annotations"]["list"]})

QUERIES = [query for panel in IN_PROMETHEUS for query in panel.queries]
READ = {rule.get("record") or rule["alert"]: metrics_in(rule["expr"]) for rule in ALL_RULES}
READ |= {query.name: metrics_in(asked(query.expression)) for query in QUERIES}
# First words of metric names. Other names with such an ending are fields or arguments.
FIRST_WORDS = {name.partition("_")[0] for names in READ.values() for name in names}


def code_in(document: Path) -> Iterator[str]:
    """Yield the text in backticks, and lines of code."""
    for line in document.read_text().splitlines():
        if line.startswith("    "):
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)


def named_in(document: Path) -> set[str]:
    """Return the metrics of its queries, and other names in its code that look like metrics."""
    found: set[str] = set()
    for code in code_in(document):
        found.update(name for name in METRIC.findall(code) if name.partition("_")[0] in FIRST_WORDS)
        if QUERY.search(code):
            with suppress(ValueError, AssertionError):  # not PromQL, or labels without a metric
                found |= metrics_in(code)
    return found


def named_anywhere() -> dict[str, set[str]]:
    """Return the metrics that each place names."""
    places = dict(READ)
    places |= {f"a variable: {series}": metrics_in(series) for series, _ in VARIABLES}
    places |= {document.name: named_in(document) for document in DOCUMENTS}
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text())["datasources"]
    for source in sources:
        for link in source["jsonData"].get("tracesToMetrics", {}).get("queries", []):
            places[f"{source['name']}: {link['name']}"] = metrics_in(link["query"])
    return places


NAMED = named_anywhere()
ALL_NAMES = sorted(set().union(*NAMED.values()))


def is_exported(name: str, lab: Lab) -> bool:
    """Return True if the metric exists. A histogram or summary is named without the ending of its series."""
    return any(f"{name}{ending}" in lab.metrics for ending in ("", "_sum", "_bucket"))


def skip_without_exporter(name: str, lab: Lab) -> None:
    for prefix, job in PREFIXES.items():
        if name.startswith(prefix) and job not in lab.jobs:
            pytest.skip(f"{EXPORTERS[job][0]} is not installed")


# --- Metrics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_metric_that_is_named_is_exported(lab: Lab, name: str):
    if name in FOREIGN_NAMES or name in ONLY_AFTER:
        pytest.skip("not in ordinary traffic of what runs here")
    skip_without_exporter(name, lab)

    assert is_exported(name, lab), [place for place, names in NAMED.items() if name in names]


@pytest.mark.parametrize("name", ONLY_AFTER)
def test_a_rare_metric_is_missing_in_ordinary_traffic(lab: Lab, name: str):
    assert not is_exported(name, lab), "take it out of the list"
    assert name in {*ALL_NAMES, *RECORDED}, "nothing names it any more"


@pytest.mark.parametrize("program", FOREIGN, ids=lambda program: program["program"])
def test_the_list_of_foreign_metrics_has_a_source_and_holds_what_is_used_and_cannot_be_seen_here(lab: Lab, program):
    assert program["source"]
    for name in program["metrics"]:
        assert name in ALL_NAMES, f"nothing names {name}"
        assert not is_exported(name, lab), f"{name} is exported here: let the tests look at it"


def test_documents_are_searched_for_metrics():
    assert {"transactions_total", "transaction_amount_sum", "kpi_drift"} <= named_in(ROOT / "README.md")


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_series_is_there(lab: Lab, name: str):
    if name in ONLY_AFTER:
        pytest.skip(f"only after {ONLY_AFTER[name]}")

    assert name in lab.metrics


def test_no_rule_fails_and_every_job_answers(lab: Lab):
    rules = [rule for group in lab.rules for rule in group["rules"]]

    assert {rule["name"] for rule in rules} == {*RECORDED, *ALERTS}
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []
    assert {target["labels"]["job"] for target in lab.targets} == lab.jobs
    assert [job for job in lab.jobs if 1 not in lab.values(f'up{{job="{job}"}}')] == []


def test_the_books_agree_and_the_trail_is_complete(lab: Lab):
    assert set(lab.values("kpi_drift")) == {0}
    assert set(lab.values("audit_verification_findings")) == {0}
    assert min(lab.values("audit_tree_size")) > 0


# --- Panels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_a_query_of_a_dashboard_returns_data(lab: Lab, query):
    if query.is_foreign:
        pytest.skip("reads what a program exports that cannot run here")
    for name in metrics_in(asked(query.expression)):
        skip_without_exporter(name, lab)

    values = lab.values(asked(query.expression))
    if query.is_empty:
        assert not values, "take it out of the list of what is rightly empty"
    else:
        assert values


@pytest.mark.parametrize("panel", TWINS)
def test_a_panel_without_data_has_a_correct_query(lab: Lab, panel: str):
    [query] = [query for query in QUERIES if query.panel == panel]
    assert query.is_empty
    assert TWINS[panel][0] in query.expression

    assert lab.values(asked(query.expression.replace(*TWINS[panel])))


@pytest.mark.parametrize(("series", "label"), VARIABLES)
def test_a_variable_offers_something_to_choose(lab: Lab, series: str, label: str):
    for name in metrics_in(series):
        skip_without_exporter(name, lab)

    assert lab.label_values(series, label)


@pytest.mark.parametrize("expression", MARKS)
def test_alerts_are_marked(lab: Lab, expression: str):
    assert lab.values(expression)
