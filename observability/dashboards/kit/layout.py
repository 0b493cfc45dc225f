"""Lines of panels, rows of lines below a heading, and the dashboard of rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, Dashboard, DashboardLink, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, GridPos

from observability.dashboards.kit.looks import ORANGE, RED
from observability.dashboards.kit.panels import Panel, legend
from observability.dashboards.kit.queries import PROMETHEUS

WIDTH = 24  # columns of Grafana's grid
TAG = "fintech"


@dataclass(frozen=True)
class Section:
    """A row of the dashboard: its heading, and the lines of panels below it."""

    title: str
    lines: tuple[Sequence[Panel], ...] = field(default=())


def row(title: str, *lines: Sequence[Panel]) -> Section:
    """Return a heading with lines of panels below it. A line has 1, 2, 3, 4, 6, 8 or 12 panels of equal width."""
    for line in lines:
        if not line or WIDTH % len(line):
            raise ValueError(f"{title}: {len(line)} panels cannot share {WIDTH} columns")
    return Section(title, lines)


def dashboard(
    uid: str,
    title: str,
    description: str,
    *,
    rows: Sequence[Section],
    variables: Sequence[QueryVariable] = (),
    period: str = "now-1h",
    refresh: str = "10s",
) -> Dashboard:
    """Return a dashboard with alert annotations, links to the other dashboards, and positioned panels."""
    made = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .time(period, "now")
        .timezone("browser")
        .refresh(refresh)
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .variables(list(variables))
        .annotations([alert_marks("Critical alerts", "critical", RED), alert_marks("Warnings", "warning", ORANGE)])
        .link(other_dashboards())
    )
    place(made, rows)
    return made


def other_dashboards() -> DashboardLink:
    """Return a menu of the other dashboards, which keeps the time range and the variables."""
    link = DashboardLink("Dashboards").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).keep_time(True).include_vars(True)


def alert_marks(name: str, severity: str, color: str) -> AnnotationQuery:
    """Return an annotation that marks on every graph when an alert fired."""
    firing = f'ALERTS{{alertstate="firing", severity="{severity}"}}'
    return AnnotationQuery().name(name).datasource(PROMETHEUS).enable(True).icon_color(color).expr(firing)


def place(made: Dashboard, rows: Sequence[Section]) -> None:
    """Position the panels line by line from the top, and number them in reading order."""
    number, y = 0, 0
    for section in rows:
        number, made = number + 1, made.with_row(Row(section.title).id(number + 1).grid_pos(GridPos(1, WIDTH, 0, y)))
        y += 1
        for line in section.lines:
            height, width = max(panel.height for panel in line), WIDTH // len(line)
            for place_in_line, panel in enumerate(line):
                number += 1
                panel.builder.id(number)
                panel.builder.grid_pos(GridPos(height, width, place_in_line * width, y))
                if isinstance(panel.builder, timeseries.Panel) and width >= WIDTH // 2:
                    panel.builder.legend(legend(LegendPlacement.RIGHT))  # a wide panel has room for it
                made.with_panel(panel.builder)
            y += height


def to_json(made: Dashboard) -> str:
    """Return the JSON file that Grafana reads."""
    document = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    # The SDK's annotations lack the fields that the Prometheus data source reads besides the query.
    for mark in document["annotations"]["list"]:
        mark |= {"titleFormat": "{{alertname}}", "textFormat": "{{instance}} {{job}}", "tagKeys": "severity"}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
