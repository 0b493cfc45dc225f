"""The dashboards as Grafana reads them: every panel and every query of the committed JSON files."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from observability.render import HERE

GRAFANA = HERE / "grafana"
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in sorted(GRAFANA.glob("dashboards/*/*.json"))}

# What Grafana puts in place of its own words before it asks. The lab's windows are short (lab.py).
SUBSTITUTES = {"$__rate_interval": "10s", "$__range": "30s", "$__interval": "10s"}


@dataclass(frozen=True)
class Panel:
    """A panel of a dashboard, headings left out. `queries` are PromQL or LogQL, by `source`."""

    dashboard: str
    title: str
    source: str
    queries: tuple[str, ...]
    json: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.dashboard}: {self.title}"


def panels_of(dashboard: str) -> Iterator[Panel]:
    for panel in DASHBOARDS[dashboard]["panels"]:
        if panel["type"] != "row":
            queries = tuple(target["expr"] for target in panel["targets"])
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
