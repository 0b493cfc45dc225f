"""Units, thresholds, mappings and colors."""

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

from observability.dashboards.kit.queries import Query

NUMBER = "short"  # Grafana's unit of plain numbers
# Grafana inserts a space before a suffix.
PER_SECOND, PER_MINUTE = "suffix:/s", "suffix:/min"

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
AXIS = {"percentunit": 0.01, "s": 0.01, "suffix:x": 1, "bytes": 2**20, PER_SECOND: 0.1, PER_MINUTE: 1, NUMBER: 1}
# ISO 4217 code -> Grafana's unit. Grafana has no unit for the other currencies.
MONEY = {"EUR": "currencyEUR", "USD": "currencyUSD", "GBP": "currencyGBP", "JPY": "currencyJPY", "KWD": "suffix:KWD"}


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
    return [ValueMap({name.lstrip("_"): ValueMappingResult(text, color) for name, (text, color) in texts.items()})]


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
