"""Read the panels and queries of the committed dashboards."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from observability.render import HERE
from observability.tests.test_rules import metrics_in

GRAFANA = HERE / "grafana"
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in sorted(GRAFANA.glob("dashboards/*/*.json"))}
# Metrics of programs that the tests cannot run.
FOREIGN = yaml.safe_load((HERE / "tests/foreign_metrics.yml").read_text())
FOREIGN_NAMES = {name for program in FOREIGN for name in program["metrics"]}

# Values for the variables that Grafana replaces before a query. The lab's windows are short (lab.py).
SUBSTITUTES = {"$__rate_interval": "10s", "$__range": "30s", "$__interval": "10s"}

# Panels that are correctly empty in half a minute of ordinary traffic: a panel, or `panel / legend` of one query.
# A test fails as soon as one of them shows data.
EMPTY = {
    "finance-overview: Time until the earliest response is due": "no dispute needs a response",
    "finance-overview: Time until the earliest payment in review expires": "no payment is in review",
    "finance-overview: Payments per second compared with usual / usual": "needs a day of history",
    "application: Server errors by view": "the lab makes no answer with 5xx",
    "application: Errors by kind": "no statement fails in the lab",
    "infrastructure: Targets down": "everything is up",
    "infrastructure: Certificates": "nothing in the lab speaks TLS",
}

# A change with which such a query must find data, to show that the query itself is correct.
TWINS = {
    "application: Server errors by view": ('"5.."', '"2.."'),
    "infrastructure: Targets down": ("== 0", "== 1"),
}


@dataclass(frozen=True)
class Query:
    """A query of a panel: PromQL or LogQL with Grafana's variables."""

    panel: str
    legend: str
    expression: str

    @property
    def name(self) -> str:
        return f"{self.panel} / {self.legend}"

    @property
    def is_empty(self) -> bool:
        """True if the query is listed as correctly empty."""
        return self.panel in EMPTY or self.name in EMPTY

    @property
    def is_foreign(self) -> bool:
        """True if the query reads metrics of programs that the tests cannot run."""
        return bool(metrics_in(asked(self.expression)) & FOREIGN_NAMES)


@dataclass(frozen=True)
class Panel:
    """A panel of a dashboard that is not a heading. `source` is the uid of its data source."""

    dashboard: str
    title: str
    source: str
    queries: tuple[Query, ...]
    json: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.dashboard}: {self.title}"

    @property
    def has_data(self) -> bool:
        """True if the panel must show data in the tests."""
        if self.source == "loki":
            return not all(query.is_empty for query in self.queries)
        return not all(query.is_empty or query.is_foreign for query in self.queries)


def panels_of(dashboard: str) -> Iterator[Panel]:
    for panel in DASHBOARDS[dashboard]["panels"]:
        if panel["type"] != "row":
            name = f"{dashboard}: {panel['title']}"
            queries = tuple(Query(name, item.get("legendFormat", ""), item["expr"]) for item in panel["targets"])
            yield Panel(dashboard, panel["title"], panel["datasource"]["uid"], queries, panel)


PANELS = [panel for dashboard in DASHBOARDS for panel in panels_of(dashboard)]
IN_PROMETHEUS = [panel for panel in PANELS if panel.source == "prometheus"]
IN_LOKI = [panel for panel in PANELS if panel.source == "loki"]


def asked(expression: str) -> str:
    """Return the query as Prometheus receives it: variables replaced, each choice at All."""
    for word, duration in SUBSTITUTES.items():
        expression = expression.replace(word, duration)
    return re.sub(r"\$\w+", ".*", expression)


def variables_in(expression: str) -> set[str]:
    return set(re.findall(r"\$(?!__)(\w+)", expression))
