"""What dashboards are made of: a panel is a call, a line's panels share its width, a row is lines below a heading.

    dashboard("finance-overview", "Finance overview", "...", rows=[
        row("At a glance", [
            stat("Payments now", "Payments that became final.", query("kpi:transactions:rate1m"), unit=PER_SECOND),
        ]),
    ])

Every panel has a title, a description and a unit, because its function asks for them. Positions and ids are counted
here, so that no two panels lie on each other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import common, heatmap, logs, loki, prometheus, table, timeseries
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    FieldColor,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    ScaleDistribution,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    GridPos,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# The uids of ../grafana/provisioning/datasources/datasources.yml.
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
LOKI = DataSourceRef(type_val="loki", uid="loki")

WIDTH = 24  # columns of Grafana's grid
# Grafana puts the space before a suffix itself.
PER_SECOND, PER_MINUTE = "suffix:/s", "suffix:/min"
TAG = "fintech"

GREEN, ORANGE, RED = "green", "orange", "red"
# Label -> its value -> the color that a reader expects. A series that is called otherwise gets the palette's next one.
COLORS = {
    "status": {
        "succeeded": GREEN,
        "declined": "blue",
        "blocked": "purple",
        "failed": RED,
        "firing": RED,
        "resolved": GREEN,
    },
    "outcome": {"approved": GREEN, "declined": "blue", "error": RED, "timeout": ORANGE, "unavailable": "dark-red"},
    "severity": {"critical": RED, "warning": ORANGE, "info": "blue", "none": "gray"},
    "level": {"critical": "dark-red", "error": RED, "warning": ORANGE, "info": "blue"},
}
# Unit -> how far the axis goes at least: without it Grafana draws a line of zeros on an axis up to 100, or 10000 %.
AXIS = {"percentunit": 0.01, "s": 0.01, "suffix:x": 1, "bytes": 2**20, PER_SECOND: 0.1, PER_MINUTE: 1, "short": 1}
# ISO 4217 -> Grafana's unit. Others are written out: Grafana has no unit for them.
MONEY = {"EUR": "currencyEUR", "USD": "currencyUSD", "GBP": "currencyGBP", "JPY": "currencyJPY", "KWD": "suffix:KWD"}


@dataclass(frozen=True)
class Panel:
    """One of the SDK's panels, which has no place yet. `height` is in rows of Grafana's grid."""

    builder: Any  # the SDK's panels share their methods, but no type
    height: int


@dataclass(frozen=True)
class Section:
    """A row of the dashboard: its heading, and the lines of panels below it."""

    title: str
    lines: tuple[Sequence[Panel], ...] = field(default=())


# --- Queries -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    expression: str
    legend: str = "__auto"
    exemplars: bool = False


def query(expression: str, legend: str = "__auto", *, exemplars: bool = False) -> Query:
    """PromQL. `legend` may name labels: `{{status}}`."""
    return Query(" ".join(expression.split()), legend, exemplars)


def ratio(part: str, whole: str) -> str:
    """`part` of `whole`; without any events 0, not a division by zero."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def targets(queries: Sequence[Query], *, instant: bool = False) -> list[Any]:
    made = []
    for letter, item in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).datasource(PROMETHEUS).expr(item.expression)
        target = target.legend_format(item.legend).exemplar(item.exemplars)
        made.append(target.instant() if instant else target.range())
    return made


# --- Thresholds and other looks ----------------------------------------------------------------------------


def above(warning: float, critical: float | None = None) -> list[Threshold]:
    """Green, from `warning` on orange, from `critical` on red; with one number green, then red."""
    if critical is None:
        return [Threshold(None, GREEN), Threshold(warning, RED)]
    return [Threshold(None, GREEN), Threshold(warning, ORANGE), Threshold(critical, RED)]


def below(warning: float, critical: float) -> list[Threshold]:
    """Red up to `critical`, orange up to `warning`, then green."""
    return [Threshold(None, RED), Threshold(critical, ORANGE), Threshold(warning, GREEN)]


NEXT_TO_ZERO = 1e-9


def apart_from_zero() -> list[Threshold]:
    """Green at zero, red on both sides of it."""
    return [Threshold(None, RED), Threshold(0, GREEN), Threshold(NEXT_TO_ZERO, RED)]


NEUTRAL = [Threshold(None, "blue")]


def words(**texts: tuple[str, str]) -> list[ValueMap]:
    """Words in place of numbers: `words(_0=("agree", "green"))`."""
    return [
        ValueMap({name.lstrip("_"): ValueMappingResult(text, color) for name, (text, color) in texts.items()}),
    ]


def dress(
    builder: Any,
    title: str,
    description: str,
    *,
    unit: str,
    thresholds: Sequence[Threshold] | None,
    decimals: int | None,
    minimum: float | None = None,
    empty: str | None = None,
) -> Any:
    """What every panel is told."""
    builder.title(title).description(description).unit(unit)
    steps = list(NEUTRAL if thresholds is None else thresholds)
    builder.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if decimals is not None:
        builder.decimals(decimals)
    if minimum is not None:
        builder.min(minimum)
    if empty is not None:
        builder.no_value(empty)
    return builder


def in_currencies(builder: Any) -> Any:
    """A number that is called after a currency gets that currency's unit, and its course a height of its own."""
    for currency, unit in MONEY.items():
        builder.override_by_name(currency, [DynamicConfigValue("unit", unit), DynamicConfigValue("fieldMinMax", True)])
    return builder


def color_lines(builder: Any, queries: Sequence[Query], thresholds: Sequence[Threshold] | None) -> None:
    """By what a series is called after, if that is a label's value alone; thresholds are dashed lines."""
    if thresholds and thresholds[-1].value == NEXT_TO_ZERO:
        # A red line at zero would lie on what is well: the series itself becomes red.
        builder.axis_soft_min(-1).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        return
    # One series alone is green, orange or red as its last value is.
    alone = thresholds and len(queries) == 1 and "{{" not in queries[0].legend
    mode = FieldColorModeId.THRESHOLDS if alone else FieldColorModeId.PALETTE_CLASSIC
    builder.color_scheme(FieldColor().mode(mode))
    for label in [name for name in COLORS if f"{{{{{name}}}}}" in [item.legend for item in queries]]:
        for value, color in COLORS[label].items():
            fixed = {"mode": FieldColorModeId.FIXED.value, "fixedColor": color}
            builder.override_by_name(value, [DynamicConfigValue("color", fixed)])
    if thresholds:
        builder.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))


# --- Panels ------------------------------------------------------------------------------------------------


def stat(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    thresholds: Sequence[Threshold] | None = None,
    decimals: int | None = None,
    mappings: list[ValueMap] | None = None,
    money: bool = False,
    only_now: bool = False,
) -> Panel:
    """One big number a series, as it is now, with its course behind it.

    `only_now`: what is not known at this moment is no data, and not the last number that was known.
    """
    builder = dress(stats.Panel(), title, description, unit=unit, thresholds=thresholds, decimals=decimals)
    builder.datasource(PROMETHEUS).targets(targets(queries, instant=only_now))
    builder.color_mode(BigValueColorMode.VALUE).graph_mode(BigValueGraphMode.AREA)
    builder.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    builder.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if mappings:
        builder.mappings(mappings)
    return Panel(in_currencies(builder) if money else builder, height=5)


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    thresholds: Sequence[Threshold] | None = None,
    decimals: int | None = None,
    minimum: float | None = 0,
    axis: float | None = None,
    stacked: bool = False,
    money: bool = False,
    empty: str | None = None,
    called: str | None = None,
) -> Panel:
    """Lines over time; `stacked` where the sum means something. The axis goes up to `axis` at least.

    `money`: currencies on one axis of powers of ten, since an axis for each would leave no room for the lines.
    `empty`: what to say where there is no series, if that is no fault. `called`: a regular expression whose group is
    what to show of a series' name.
    """
    looks: dict[str, Any] = {"unit": unit, "thresholds": thresholds, "decimals": decimals}
    builder = dress(timeseries.Panel(), title, description, **looks, minimum=None if money else minimum, empty=empty)
    builder.datasource(PROMETHEUS).targets(targets(queries))
    # A stack has no lines: that of a series of zeros would lie on the one below it.
    builder.line_width(0 if stacked else 1).fill_opacity(60 if stacked else 0 if money else 8)
    builder.show_points(VisibilityMode.NEVER)
    if stacked:
        builder.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    color_lines(builder, queries, thresholds)
    if money:
        builder.scale_distribution(common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))
    elif axis or unit in AXIS:
        builder.axis_soft_max(axis or AXIS[unit])
    if called:
        builder.with_transformation(
            DataTransformerConfig("renameByRegex", options={"regex": called, "renamePattern": "$1"})
        )
    builder.legend(legend(LegendPlacement.BOTTOM))
    builder.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    return Panel(builder, height=9)


def legend(placement: LegendPlacement) -> common.VizLegendOptions:
    made = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.TABLE)
    return made.placement(placement).calcs(["mean", "lastNotNull", "max"])


def heat(title: str, description: str, buckets: Query, *, unit: str) -> Panel:
    """How many observations fell where, over time. `buckets`: the rate of a histogram by `le`."""
    builder = heatmap.Panel().title(title).description(description).unit(unit).datasource(PROMETHEUS)
    [target] = targets([buckets])
    builder.targets([target.format(PromQueryFormat.HEATMAP)])
    builder.y_axis(heatmap.YAxisConfig().unit(unit)).filter_values(heatmap.FilterValueRange().le(1e-9))
    return Panel(builder, height=9)


def listing(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    thresholds: Sequence[Threshold] | None = None,
    decimals: int | None = None,
    show_job: bool = False,
    empty: str | None = None,
    units: Mapping[str, str] | None = None,
) -> Panel:
    """A table: a row a series, a column a label and one a query, as it is now; `job` is Prometheus's own.

    `units`: of the columns that have another one than `unit`.
    """
    looks: dict[str, Any] = {"unit": unit, "thresholds": thresholds, "decimals": decimals}
    builder = dress(table.Panel(), title, description, **looks, empty=empty)
    made = [target.format(PromQueryFormat.TABLE) for target in targets(queries, instant=True)]
    builder.datasource(PROMETHEUS).targets(made).filterable(True).min_width(60)
    for column, other in (units or {}).items():
        builder.override_by_name(column, [DynamicConfigValue("unit", other)])
    hidden = dict.fromkeys(["Time", "__name__"] if show_job else ["Time", "__name__", "job"], True)
    names = {f"Value #{letter}": item.legend for letter, item in zip(ascii_uppercase, queries, strict=False)}
    if len(queries) == 1:
        names = {"Value": queries[0].legend}
    builder.with_transformation(DataTransformerConfig("merge", options={}))
    builder.with_transformation(
        DataTransformerConfig("organize", options={"excludeByName": hidden, "renameByName": names})
    )
    return Panel(builder, height=9)


def log_lines(title: str, description: str, expression: str) -> Panel:
    """Lines of the log, newest first. `expression` is LogQL."""
    builder = logs.Panel().title(title).description(description).unit("string").datasource(LOKI)
    builder.targets([loki.Dataquery().ref_id("A").datasource(LOKI).expr(expression).query_type("range")])
    builder.show_time(True).wrap_log_message(True).enable_log_details(True).prettify_log_message(False)
    return Panel(builder.sort_order(LogsSortOrder.DESCENDING), height=10)


def log_graph(title: str, description: str, *queries: Query, unit: str, stacked: bool = True) -> Panel:
    """Numbers made from lines of the log."""
    panel = graph(title, description, unit=unit, stacked=stacked)
    made = [
        loki.Dataquery().ref_id(letter).datasource(LOKI).expr(item.expression).legend_format(item.legend)
        for letter, item in zip(ascii_uppercase, queries, strict=False)
    ]
    panel.builder.datasource(LOKI).targets([target.query_type("range") for target in made])
    return panel


# --- Variables ---------------------------------------------------------------------------------------------


def variable(name: str, label: str, description: str, values: str) -> QueryVariable:
    """A choice of several values, at first all. `values` is Grafana's `label_values(metric, label)`."""
    return (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(PROMETHEUS)
        .query({"query": values, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


CURRENCY = variable(
    "currency",
    "Currency",
    "Currencies are never added to each other.",
    "label_values(transaction_amount_count, currency)",
)


def instance(values: str, label: str = "Instance") -> QueryVariable:
    return variable("instance", label, "Which of the processes that Prometheus scrapes.", values)


# --- Dashboards --------------------------------------------------------------------------------------------


def row(title: str, *lines: Sequence[Panel]) -> Section:
    """A heading, and lines of panels below it. The panels of a line share its width: 1, 2, 3, 4, 6, 8 or 12."""
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
    """A dashboard with the marks of alerts, links to the others, and every panel in its place."""
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
        .link(
            DashboardLink("Dashboards")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
    )
    place(made, rows)
    return made


def alert_marks(name: str, severity: str, color: str) -> AnnotationQuery:
    """A mark on every graph for the time that an alert fired."""
    firing = f'ALERTS{{alertstate="firing", severity="{severity}"}}'
    return AnnotationQuery().name(name).datasource(PROMETHEUS).enable(True).icon_color(color).expr(firing)


def place(made: Dashboard, rows: Sequence[Section]) -> None:
    """From the top, line by line; numbers in the order of reading."""
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
                    panel.builder.legend(legend(LegendPlacement.RIGHT))  # there is room, and more lines fit
                made.with_panel(panel.builder)
            y += height


def to_json(made: Dashboard) -> str:
    """The file that Grafana reads."""
    document = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    # The SDK's annotations lack what the Prometheus data source reads besides the query.
    for mark in document["annotations"]["list"]:
        mark |= {"titleFormat": "{{alertname}}", "textFormat": "{{instance}} {{job}}", "tagKeys": "severity"}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
