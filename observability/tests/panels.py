"""The dashboards as Grafana reads them: every panel and every query of the committed JSON files."""

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

# What Grafana puts in place of its own words before it asks. The lab's windows are short (lab.py).
SUBSTITUTES = {"$__rate_interval": "10s", "$__range": "30s", "$__interval": "10s"}

# What shows nothing in half a minute of ordinary traffic, and rightly so: a panel, or `panel / legend` of one query.
# A test fails as soon as one of these does show something.
EMPTY = {
    "finance-overview: Payments per second compared with usual / usual": "needs a day of history",
    "application: Server errors by view": "the lab makes no answer with 5xx",
    "application: Errors by kind": "no statement fails in the lab",
    "infrastructure: Targets down": "everything is up",
    "infrastructure: Certificates": "nothing in the lab speaks TLS",
}

# A change that makes such a query find something, so that it is not empty for a mistake.
TWINS = {
    "application: Server errors by view": ('"5.."', '"2.."'),
    "infrastructure: Targets down": ("== 0", "== 1"),
}


@dataclass(frozen=True)
class Query:
    """One query of a panel: PromQL or LogQL as it is written, with Grafana's words and variables."""

    panel: str
    legend: str
    expression: str

    @property
    def name(self) -> str:
        return f"{self.panel} / {self.legend}"

    @property
    def is_empty(self) -> bool:
        """Whether it is listed as rightly empty."""
        return self.panel in EMPTY or self.name in EMPTY

    @property
    def is_foreign(self) -> bool:
        """Whether it reads what only programs export that the tests cannot run."""
        return bool(metrics_in(asked(self.expression)) & FOREIGN_NAMES)


@dataclass(frozen=True)
class Panel:
    """A panel of a dashboard, headings left out. `source` is the uid of its data source."""

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
        """Whether the tests see it show something."""
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
    """The query as Prometheus gets it: durations in place of Grafana's words, and every variable at All."""
    for word, duration in SUBSTITUTES.items():
        expression = expression.replace(word, duration)
    return re.sub(r"\$\w+", ".*", expression)


def variables_in(expression: str) -> set[str]:
    return set(re.findall(r"\$(?!__)(\w+)", expression))
