"""The panels: one function for each kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import common, heatmap, logs, loki, table, timeseries
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    ScaleDistribution,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ValueMap,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from observability.dashboards.kit.looks import AXIS, NUMBER, color_lines, dress, in_currencies
from observability.dashboards.kit.queries import LOKI, PROMETHEUS, Query, targets


@dataclass(frozen=True)
class Panel:
    """A panel of the SDK without a position. `height` is in rows of Grafana's grid."""

    builder: Any  # the SDK's panels share methods, but no base type
    height: int


def stat(
    title: str,
    description: str,
    *queries: Query,
    unit: str = NUMBER,
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
    unit: str = NUMBER,
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


def heat(title: str, description: str, buckets: Query, *, unit: str = NUMBER) -> Panel:
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
    unit: str = NUMBER,
    decimals: int | None = None,
    show_job: bool = False,
    empty: str | None = None,
    units: Mapping[str, str] | None = None,
) -> Panel:
    """Return a table of current values: a row per series, a column per label and per query.

    `units`: the units of the columns that differ from `unit`. `show_job`: show Prometheus's label `job`.
    """
    builder = dress(table.Panel(), title, description, unit=unit, thresholds=None, decimals=decimals, empty=empty)
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


def log_graph(title: str, description: str, *queries: Query, unit: str) -> Panel:
    """Return a graph of numbers that Loki computes from log lines."""
    panel = graph(title, description, unit=unit, stacked=True)
    made = [
        loki.Dataquery().ref_id(letter).datasource(LOKI).expr(item.expression).legend_format(item.legend)
        for letter, item in zip(ascii_uppercase, queries, strict=False)
    ]
    panel.builder.datasource(LOKI).targets([target.query_type("range") for target in made])
    return panel
