"""Building blocks of dashboards: a call per panel, lines of panels, and rows of lines below a heading.

    dashboard("finance-overview", "Finance overview", "...", rows=[
        row("At a glance", [
            stat("Payments now", "Payments that became final.", query("kpi:transactions:rate1m"), unit=PER_SECOND),
        ]),
    ])

Every panel has a title, a description and a unit, because its function requires them. Positions and ids are assigned
here, so that panels never overlap.
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
# Grafana inserts a space before a suffix.
PER_SECOND, PER_MINUTE = "suffix:/s", "suffix:/min"
TAG = "fintech"

GREEN, ORANGE, RED = "green", "orange", "red"
# Label -> value -> the color that a reader expects. Other series get the next color of the palette.
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
# Unit -> the minimum upper end of the axis. Without it Grafana draws zeros on an axis up to 100, or 10000 %.
AXIS = {"percentunit": 0.01, "s": 0.01, "suffix:x": 1, "bytes": 2**20, PER_SECOND: 0.1, PER_MINUTE: 1, "short": 1}
# ISO 4217 code -> Grafana's unit. Grafana has no unit for the other currencies.
MONEY = {"EUR": "currencyEUR", "USD": "currencyUSD", "GBP": "currencyGBP", "JPY": "currencyJPY", "KWD": "suffix:KWD"}


@dataclass(frozen=True)
class Panel:
    """A panel of the SDK without a position. `height` is in rows of Grafana's grid."""

    builder: Any  # the SDK's panels share methods, but no base type
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
    """Return a PromQL query. `legend` may contain labels: `{{status}}`."""
    return Query(" ".join(expression.split()), legend, exemplars)


def ratio(part: str, whole: str) -> str:
    """Return the query of `part` divided by `whole`: 0 without events, instead of a division by zero."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def rate(metric: str, where: str = "", *, by: str = "", window: str = "$__rate_interval") -> str:
    """Return the query of a counter's events per second, summed for each value of the labels `by`."""
    labels = f"{{{where}}}" if where else ""
    return f"sum by ({by}) (rate({metric}{labels}[{window}]))" if by else f"sum(rate({metric}{labels}[{window}]))"


def mean(histogram: str, where: str = "", *, by: str = "") -> str:
    """Return the query of the mean of a histogram or summary over five minutes."""
    total, count = (rate(f"{histogram}_{part}", where, by=by, window="5m") for part in ("sum", "count"))
    return ratio(total, count)


def percentile(share: float, histogram: str, where: str = "", *, by: str = "") -> str:
    """Return the query of a histogram's percentile over five minutes, such as 0.95."""
    buckets = rate(f"{histogram}_bucket", where, by=f"le, {by}" if by else "le", window="5m")
    return f"histogram_quantile({share}, {buckets})"


def targets(queries: Sequence[Query], *, instant: bool = False) -> list[Any]:
    made = []
    for letter, item in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).datasource(PROMETHEUS).expr(item.expression)
        target = target.legend_format(item.legend).exemplar(item.exemplars)
        made.append(target.instant() if instant else target.range())
    return made


# --- Thresholds, mappings and colors -----------------------------------------------------------------------


def above(warning: float, critical: float | None = None) -> list[Threshold]:
    """Return green, orange from `warning` on, red from `critical` on. With one number: green, then red."""
    if critical is None:
        return [Threshold(None, GREEN), Threshold(warning, RED)]
    return [Threshold(None, GREEN), Threshold(warning, ORANGE), Threshold(critical, RED)]


def below(warning: float, critical: float) -> list[Threshold]:
    """Return red below `critical`, orange below `warning`, then green."""
    return [Threshold(None, RED), Threshold(critical, ORANGE), Threshold(warning, GREEN)]


NEXT_TO_ZERO = 1e-9


def apart_from_zero() -> list[Threshold]:
    """Return green at zero, red on both sides of it."""
    return [Threshold(None, RED), Threshold(0, GREEN), Threshold(NEXT_TO_ZERO, RED)]


NEUTRAL = [Threshold(None, "blue")]


def words(**texts: tuple[str, str]) -> list[ValueMap]:
    """Map numbers to texts with colors: `words(_0=("agree", "green"))`."""
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
    """Set the properties that all panels share."""
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
    """Give each series that is named after a currency its unit and its own scale."""
    for currency, unit in MONEY.items():
        builder.override_by_name(currency, [DynamicConfigValue("unit", unit), DynamicConfigValue("fieldMinMax", True)])
    return builder


def color_lines(builder: Any, queries: Sequence[Query], thresholds: Sequence[Threshold] | None) -> None:
    """Color series that are named after a label's value. Thresholds become dashed lines."""
    if thresholds and thresholds[-1].value == NEXT_TO_ZERO:
        # A red line at zero would mark the correct value, so the series itself turns red instead.
        builder.axis_soft_min(-1).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        return
    # A single series takes the color of its last value.
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
    """Return a panel with one big number per series, its current value, above a small graph.

    `only_now`: show "no data" if the value is unknown now, instead of the last known value.
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
    """Return a panel of lines over time. Use `stacked` if the sum is meaningful. The axis ends at `axis` or above.

    `money`: draw all currencies on one logarithmic axis, because an axis each would leave no room for the lines.
    `empty`: text without any series, if that is not an error. `called`: a regular expression whose group is the shown
    part of a series' name.
    """
    looks: dict[str, Any] = {"unit": unit, "thresholds": thresholds, "decimals": decimals}
    builder = dress(timeseries.Panel(), title, description, **looks, minimum=None if money else minimum, empty=empty)
    builder.datasource(PROMETHEUS).targets(targets(queries))
    # A stack has no lines: the line of a series of zeros would cover the one below it.
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
    """Return a heat map of a histogram over time. `buckets`: the rate of the histogram by `le`."""
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
    """Return a table of current values: a row per series, a column per label and per query.

    `units`: the units of the columns that differ from `unit`. `show_job`: show Prometheus's label `job`.
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
    columns = {"excludeByName": hidden, "renameByName": names}
    builder.with_transformation(DataTransformerConfig("merge", options={}))
    builder.with_transformation(DataTransformerConfig("organize", options=columns))
    return Panel(builder, height=9)


def log_lines(title: str, description: str, expression: str) -> Panel:
    """Return a panel of log lines, newest first. `expression` is LogQL."""
    builder = logs.Panel().title(title).description(description).unit("string").datasource(LOKI)
    builder.targets([loki.Dataquery().ref_id("A").datasource(LOKI).expr(expression).query_type("range")])
    builder.show_time(True).wrap_log_message(True).enable_log_details(True).prettify_log_message(False)
    return Panel(builder.sort_order(LogsSortOrder.DESCENDING), height=10)


def log_graph(title: str, description: str, *queries: Query, unit: str, stacked: bool = True) -> Panel:
    """Return a graph of numbers that Loki computes from log lines."""
    panel = graph(title, description, unit=unit, stacked=stacked)
    made = [
        loki.Dataquery().ref_id(letter).datasource(LOKI).expr(item.expression).legend_format(item.legend)
        for letter, item in zip(ascii_uppercase, queries, strict=False)
    ]
    panel.builder.datasource(LOKI).targets([target.query_type("range") for target in made])
    return panel


# --- Variables ---------------------------------------------------------------------------------------------


def variable(name: str, label: str, description: str, values: str) -> QueryVariable:
    """Return a variable with multiple choice, by default all values. `values`: `label_values(metric, label)`."""
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
    return variable("instance", label, "The scraped processes to show.", values)


# --- Dashboards --------------------------------------------------------------------------------------------


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
