"""The committed dashboards equal their code, every panel is described, and every query parses."""

import re
import shutil
import subprocess
from itertools import pairwise
from typing import Any

import promql_parser
import pytest
import yaml

from observability.dashboards.__main__ import FILES, rendered
from observability.dashboards.documented import REVENUE
from observability.dashboards.kit import WIDTH
from observability.render import HERE
from observability.tests.panels import (
    DASHBOARDS,
    EMPTY,
    GRAFANA,
    IN_LOKI,
    IN_PROMETHEUS,
    PANELS,
    Panel,
    asked,
    panels_of,
    variables_in,
)
from observability.tests.test_rules import ALERTS, RECORDED, metrics_in

each_dashboard = pytest.mark.parametrize("uid", DASHBOARDS)
each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)

EXPECTED = {
    "business": {"finance-overview", "payments", "slo"},
    "operations": {"alert-trail", "application", "infrastructure", "logs"},
}
# Metrics with a label `currency`.
MONEY = {"transaction_amount_sum", "transaction_amount_count", "ledger_amount_total", "kpi:revenue:per_minute5m"}
# Panel types that show numbers and therefore need thresholds.
NUMBERS = ("stat", "timeseries", "table")


def sources() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text())
    return {source["uid"]: source for source in document["datasources"]}


def uids_in(node: Any) -> set[str]:
    """Return every data source that JSON or YAML references."""
    if isinstance(node, list):
        return set().union(*map(uids_in, node))
    if not isinstance(node, dict):
        return set()
    own = {value for key, value in node.items() if key in ("datasourceUid", "alertmanagerUid")}
    if isinstance(node.get("datasource"), dict):
        own.add(node["datasource"]["uid"])
    return own.union(*map(uids_in, node.values()))


# --- Files -------------------------------------------------------------------------------------------------


def test_the_committed_files_are_what_the_code_makes():
    committed = {path.relative_to(FILES): path.read_text() for path in FILES.glob("**/*") if path.is_file()}

    assert committed == rendered(), "run `make dashboards`, and commit what it writes"


def test_every_dashboard_is_in_its_folder():
    found = {folder.name: {file.stem for file in folder.iterdir()} for folder in FILES.iterdir()}

    assert found == EXPECTED


def test_grafana_knows_every_folder():
    document = yaml.safe_load((GRAFANA / "provisioning/dashboards/dashboards.yml").read_text())

    compose = yaml.safe_load((HERE.parent / "docker-compose.yml").read_text())
    base = compose["services"]["grafana"]["environment"]["GF_PATHS_PROVISIONING"].removesuffix("/provisioning")

    assert {provider["folderUid"] for provider in document["providers"]} == set(EXPECTED)
    for provider in document["providers"]:
        assert provider["options"]["path"] == f"{base}/dashboards/{provider['folderUid']}"
        assert not provider["allowUiUpdates"]  # the next start would overwrite them


@pytest.mark.processes
def test_make_dashboards_writes_them():
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    result = subprocess.run(["make", "-n", "dashboards"], cwd=HERE.parent, capture_output=True, text=True, check=False)

    assert "-m observability.dashboards" in result.stdout, result.stderr


# --- Data sources ------------------------------------------------------------------------------------------


def test_the_data_sources_keep_the_uids_that_grafana_has_stored():
    assert {uid: source["type"] for uid, source in sources().items()} == {
        "prometheus": "prometheus",
        "alertmanager": "alertmanager",
        "loki": "loki",
        "tempo": "tempo",
    }


def test_the_data_sources_lead_to_each_other():
    links = {uid: uids_in(source["jsonData"]) for uid, source in sources().items()}

    assert links["prometheus"] == {"alertmanager", "tempo"}
    assert links["loki"] == {"tempo"}
    assert links["tempo"] == {"loki", "prometheus"}


def test_a_trace_id_in_a_line_of_the_log_is_found():
    [field] = sources()["loki"]["jsonData"]["derivedFields"]
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    found = re.search(field["matcherRegex"], f'{{"event": "request", "trace_id": "{trace}", "status": 201}}')
    assert found
    assert found[1] == trace
    assert re.search(field["matcherRegex"], f'{{"trace_id":"{trace}"}}')
    assert not re.search(field["matcherRegex"], '{"trace_id": null}')


def test_grafana_knows_how_often_prometheus_scrapes():
    prometheus = yaml.safe_load((HERE / "prometheus/prometheus.yml").read_text())

    assert sources()["prometheus"]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_the_data_sources_are_services_of_compose():
    services = yaml.safe_load((HERE.parent / "docker-compose.yml").read_text())["services"]

    for uid, source in sources().items():
        assert source["url"].startswith(f"http://{uid}:")
        assert uid in services


def test_the_page_that_grafana_opens_with_is_there():
    compose = yaml.safe_load((HERE.parent / "docker-compose.yml").read_text())
    environment = compose["services"]["grafana"]["environment"]
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert (HERE / "grafana" / home.partition("/grafana/")[2]).is_file()


def test_the_queries_of_the_link_from_traces_to_metrics_parse():
    for item in sources()["tempo"]["jsonData"]["tracesToMetrics"]["queries"]:
        promql_parser.parse(item["query"])


# --- Dashboards --------------------------------------------------------------------------------------------


@each_dashboard
def test_a_dashboard_reads_provisioned_data_sources_only(uid):
    assert uids_in(DASHBOARDS[uid]) <= set(sources())


@each_dashboard
def test_a_dashboard_says_what_it_is_and_marks_alerts(uid):
    dashboard = DASHBOARDS[uid]

    assert dashboard["uid"] == uid
    assert dashboard["title"]
    assert dashboard["description"].endswith(".")
    assert not dashboard["editable"]
    marks = dashboard["annotations"]["list"]
    assert {mark["name"] for mark in marks} == {"Critical alerts", "Warnings"}
    assert all(mark["enable"] and mark["expr"].startswith("ALERTS{") and mark["titleFormat"] for mark in marks)


@each_dashboard
def test_panels_fill_their_lines_and_lie_beside_each_other(uid):
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[uid]["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(column, line) for column in columns for line in range(place["y"], place["y"] + place["h"])}
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= WIDTH
        taken |= cells

    tops = {panel["gridPos"]["y"] for panel in DASHBOARDS[uid]["panels"]}
    for top in tops:
        assert sum((column, top) in taken for column in range(WIDTH)) == WIDTH


@each_dashboard
def test_a_dashboard_begins_with_a_heading_and_numbers_its_panels(uid):
    panels = DASHBOARDS[uid]["panels"]

    assert panels[0]["type"] == "row"
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    headings = [panel["type"] == "row" for panel in panels]
    assert not any(first and second for first, second in pairwise([*headings, True]))  # none is empty


@each_dashboard
def test_titles_are_unique(uid):
    titles = [panel.title for panel in panels_of(uid)]

    assert len(titles) == len(set(titles))


@each_dashboard
def test_variables_are_declared_used_and_begin_with_all(uid):
    declared = {variable["name"]: variable for variable in DASHBOARDS[uid]["templating"]["list"]}
    used = set().union(*(variables_in(query.expression) for panel in panels_of(uid) for query in panel.queries))

    assert used == set(declared)
    for variable in declared.values():
        assert variable["includeAll"]
        assert variable["multi"]
        assert variable["current"]["value"] == ["$__all"]
        assert variable["description"]


def test_payments_can_be_chosen_by_currency_and_processes_by_instance():
    names = {uid: {item["name"] for item in DASHBOARDS[uid]["templating"]["list"]} for uid in DASHBOARDS}

    assert names["finance-overview"] == {"currency"}
    assert names["payments"] == names["application"] == names["infrastructure"] == {"instance"}


# --- Panels ------------------------------------------------------------------------------------------------


@each_panel
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: Panel):
    assert panel.title
    assert panel.json["description"].endswith(".")
    assert panel.json["fieldConfig"]["defaults"]["unit"]
    assert panel.queries


@each_panel
def test_a_panel_of_numbers_has_thresholds(panel: Panel):
    if panel.json["type"] in NUMBERS:
        steps = panel.json["fieldConfig"]["defaults"]["thresholds"]["steps"]
        values = [step["value"] for step in steps[1:]]
        assert steps[0]["value"] is None  # the base color
        assert values == sorted(values)


@pytest.mark.parametrize("panel", IN_PROMETHEUS, ids=lambda panel: panel.name)
def test_a_query_parses(panel: Panel):
    for item in panel.queries:
        assert "$" not in asked(item.expression)
        promql_parser.parse(asked(item.expression))


@pytest.mark.parametrize("panel", IN_PROMETHEUS, ids=lambda panel: panel.name)
def test_a_rate_is_taken_over_a_window_that_fits_the_zoom_or_over_minutes(panel: Panel):
    windows = set(re.findall(r"\[(.*?)\]", " ".join(item.expression for item in panel.queries)))

    assert windows <= {"$__rate_interval", "$__range", "1m", "5m", "1h"}


def sums_in(node: Any) -> list[Any]:
    """Return every `sum` of a query, outermost first."""
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param")] + getattr(node, "args", [])
    inner = [found for child in children if child is not None for found in sums_in(child)]
    return [node, *inner] if isinstance(node, promql_parser.AggregateExpr) and str(node.op) == "sum" else inner


@pytest.mark.parametrize("panel", IN_PROMETHEUS, ids=lambda panel: panel.name)
def test_different_currencies_are_never_added(panel: Panel):
    for item in panel.queries:
        if item.expression == REVENUE:
            continue  # documented for one currency, and its panel says so
        for added in sums_in(promql_parser.parse(asked(item.expression))):
            if metrics_in(added.prettify()) & MONEY:
                assert added.modifier
                assert "currency" in added.modifier.labels


@pytest.mark.parametrize("panel", IN_LOKI, ids=lambda panel: panel.name)
def test_a_log_query_selects_containers_and_adds_no_labels(panel: Panel):
    for text in (item.expression for item in panel.queries):
        selectors = re.findall(r"\{(.*?)\}", text)
        assert [re.match(r'container=~?"fintech', selector) is not None for selector in selectors] == [True]
        assert text.count("(") == text.count(")")


def test_the_panels_listed_as_empty_exist():
    assert set(EMPTY) <= {panel.name for panel in PANELS} | {query.name for panel in PANELS for query in panel.queries}


# --- Alerts ------------------------------------------------------------------------------------------------


def read_by(expression: str) -> set[str]:
    """Return the metrics that a query reads, including those behind recorded series."""
    names = metrics_in(expression)
    recorded = names & set(RECORDED)
    return names.union(*(read_by(RECORDED[name]["expr"]) for name in recorded))


def shown_by(uid: str) -> set[str]:
    queries = [item for panel in panels_of(uid) if panel.source == "prometheus" for item in panel.queries]
    return set().union(*(read_by(asked(item.expression)) for item in queries))


@pytest.mark.parametrize("name", [name for name in ALERTS if name != "Watchdog"])
def test_the_dashboard_that_an_alert_leads_to_shows_what_it_fired_for(name):
    uid = ALERTS[name]["annotations"]["dashboard_url"].rpartition("/d/")[2]

    assert uid in DASHBOARDS
    assert read_by(ALERTS[name]["expr"]) & shown_by(uid)


# --- The documentation -------------------------------------------------------------------------------------


def test_nine_in_ten_panels_must_show_data_in_the_tests():
    assert sum(panel.has_data for panel in PANELS) > 0.9 * len(PANELS)


def test_the_documentation_names_every_dashboard_and_every_empty_panel():
    text = " ".join((HERE.parent / "docs/dashboards.md").read_text().split())

    for dashboard in DASHBOARDS.values():
        assert f"| {dashboard['title']} |" in text
    for name in EMPTY:
        title = name.partition(": ")[2].partition(" / ")[0]
        assert f'"{title}"' in text
