"""The building blocks of dashboards write their arguments to the JSON."""

import json
from typing import Any

import promql_parser
import pytest
from django.conf import settings
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from observability.dashboards.kit import (
    MONEY,
    PER_SECOND,
    Panel,
    above,
    apart_from_zero,
    below,
    graph,
    listing,
    log_graph,
    mean,
    percentile,
    query,
    rate,
    ratio,
    row,
    stat,
    words,
)

UP = query("up", "{{job}}")


def in_json(panel: Panel) -> dict[str, Any]:
    return json.loads(json.dumps(panel.builder.build(), cls=JSONEncoder))


def steps(panel: Panel) -> list[tuple[float | None, str]]:
    return [(step["value"], step["color"]) for step in in_json(panel)["fieldConfig"]["defaults"]["thresholds"]["steps"]]


@pytest.mark.parametrize("count", [0, 5, 7, 9, 25])
def test_a_line_whose_panels_cannot_share_the_width_is_refused(count):
    with pytest.raises(ValueError, match=f"{count} panels"):
        row("Row", [stat("Title", "Description.", UP, unit="short")] * count)


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        (above(0.01, 0.05), [(None, "green"), (0.01, "orange"), (0.05, "red")]),
        (above(0.3), [(None, "green"), (0.3, "red")]),
        (below(0.8, 0.6), [(None, "red"), (0.6, "orange"), (0.8, "green")]),
        (apart_from_zero(), [(None, "red"), (0, "green"), (1e-9, "red")]),
        (None, [(None, "blue")]),
    ],
)
def test_colors_begin_below_and_change_at_each_threshold(thresholds, expected):
    assert steps(graph("Title", "Description.", UP, unit="short", thresholds=thresholds)) == expected


def test_every_currency_of_the_platform_has_a_unit():
    panel = in_json(stat("Title", "Description.", UP, unit="short", money=True))

    assert set(MONEY) == set(settings.KPI_CURRENCIES)
    assert {item["matcher"]["options"] for item in panel["fieldConfig"]["overrides"]} == set(MONEY)


def test_currencies_share_one_axis_on_which_large_and_small_are_seen():
    panel = in_json(graph("Title", "Description.", UP, unit="short", money=True))["fieldConfig"]

    assert panel["defaults"]["custom"]["scaleDistribution"] == {"type": "log", "log": 10}
    assert "min" not in panel["defaults"]  # a logarithmic axis has no zero
    assert not any(item["id"] == "unit" for override in panel["overrides"] for item in override["properties"])


@pytest.mark.parametrize(("unit", "top"), [("percentunit", 0.01), (PER_SECOND, 0.1), ("short", 1)])
def test_a_line_of_zeros_gets_an_axis_of_its_unit(unit, top):
    assert (
        in_json(graph("Title", "Description.", UP, unit=unit))["fieldConfig"]["defaults"]["custom"]["axisSoftMax"]
        == top
    )


@pytest.mark.parametrize(
    ("legend", "value", "color"),
    [("{{status}}", "failed", "red"), ("{{outcome}}", "approved", "green"), ("{{severity}}", "warning", "orange")],
)
def test_a_series_that_is_called_after_an_outcome_has_the_color_of_it(legend, value, color):
    panel = in_json(graph("Title", "Description.", query("up", legend), unit="short"))

    [properties] = [
        item["properties"] for item in panel["fieldConfig"]["overrides"] if item["matcher"]["options"] == value
    ]
    assert properties == [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]


@pytest.mark.parametrize("legend", ["{{job}}", "{{status}} {{method}}", "status"])
def test_other_series_get_the_colors_of_the_palette(legend):
    assert not in_json(graph("Title", "Description.", query("up", legend), unit="short"))["fieldConfig"]["overrides"]


@pytest.mark.parametrize(
    ("queries", "mode"),
    [
        ([query("up", "one")], "thresholds"),
        ([query("up", "{{job}}")], "palette-classic"),
        ([query("up", "one"), query("up", "two")], "palette-classic"),
    ],
)
def test_one_series_alone_has_the_color_of_its_last_value(queries, mode):
    panel = in_json(graph("Title", "Description.", *queries, unit="short", thresholds=above(1, 2)))

    assert panel["fieldConfig"]["defaults"]["color"]["mode"] == mode


def test_zero_is_no_threshold_that_is_drawn():
    panel = in_json(graph("Title", "Description.", UP, unit="short", thresholds=apart_from_zero()))

    assert panel["fieldConfig"]["defaults"]["color"]["mode"] == "thresholds"  # the series itself changes its color
    assert "thresholdsStyle" not in panel["fieldConfig"]["defaults"]["custom"]


def test_a_column_can_have_a_unit_of_its_own():
    panel = in_json(listing("Title", "Description.", query("up", "ago"), unit="short", units={"ago": "s"}))

    [override] = panel["fieldConfig"]["overrides"]
    assert override == {
        "matcher": {"id": "byName", "options": "ago"},
        "properties": [{"id": "unit", "value": "s"}],
    }


def test_a_query_is_one_line_and_keeps_its_legend():
    [target] = in_json(graph("Title", "Description.", query("sum(\n  up\n)", "{{job}}"), unit="short"))["targets"]

    assert target["expr"] == "sum( up )"
    assert target["legendFormat"] == "{{job}}"
    assert target["range"]
    assert not target["instant"]


def test_a_share_of_nothing_is_no_division_by_zero():
    share = ratio("sum(a)", "sum(b)")

    promql_parser.parse(share)
    assert share == "sum(a) / clamp_min(sum(b), 1e-9)"


@pytest.mark.parametrize(
    ("queries", "columns"), [([UP], {"Value": "{{job}}"}), ([UP, UP], {"Value #A": "{{job}}", "Value #B": "{{job}}"})]
)
def test_a_table_calls_its_columns_after_its_queries(queries, columns):
    panel = in_json(listing("Title", "Description.", *queries, unit="short"))

    assert panel["transformations"][1]["options"]["renameByName"] == columns
    assert all(target["instant"] and target["format"] == "table" for target in panel["targets"])


def test_a_number_can_be_a_word():
    panel = in_json(stat("Title", "Description.", UP, unit="short", mappings=words(_0=("Yes", "green"))))

    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]
    assert mapping["options"]["0"] == {"text": "Yes", "color": "green"}


def test_numbers_made_of_logs_are_asked_of_loki():
    panel = in_json(log_graph("Title", "Description.", query('{container="x"}'), unit="short"))

    assert panel["datasource"]["uid"] == "loki"
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"loki"}


def test_queries_of_counters_and_histograms_sum_over_the_processes():
    assert rate("x_total") == "sum(rate(x_total[$__rate_interval]))"
    assert rate("x_total", 'job="web"', by="a, b", window="5m") == 'sum by (a, b) (rate(x_total{job="web"}[5m]))'
    assert mean("x") == "sum(rate(x_sum[5m])) / clamp_min(sum(rate(x_count[5m])), 1e-9)"
    assert percentile(0.95, "x", by="a") == "histogram_quantile(0.95, sum by (le, a) (rate(x_bucket[5m])))"
