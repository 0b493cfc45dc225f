import re

import pytest

from loadtests.run.output import write_results
from loadtests.run.plots import area_plot, line_plot
from loadtests.run.report import OUTCOMES, make_plots, render
from loadtests.run.samples import Sample
from loadtests.run.summary import summarize
from loadtests.run.timeline import make_timeline

SAMPLES = [
    Sample(0, at / 10, 1.0, 20.0 + at, "POST /v1/transactions", 1, status, "succeeded" if status == 201 else "", error)
    for at in range(100)
    for status, error in [(201, "") if at % 10 else (503, "<b>down & out</b>")]
]


def make_summary(**changes: object) -> dict:
    about = {"started_at": "2026-01-01T00:00:00+00:00", "base_url": "http://localhost", "shape": "steady", "rps": 10.0}
    rest = {"seconds": 10.0, "workers": 3, "processes": 1, "interrupted": False, "thresholds": [], "warnings": []}
    return {**about, **rest, **summarize(SAMPLES, 10, len(SAMPLES)), **changes}


def test_the_report_needs_no_other_file_and_no_script():
    page = render(make_summary(), SAMPLES)

    assert not re.search(r"<script|<link|<img|src=|url\(|@import", page)
    assert page.count("<svg") == 4


def test_texts_of_the_service_are_escaped():
    page = render(make_summary(), SAMPLES)

    assert "<b>down" not in page
    assert "&lt;b&gt;down &amp; out" in page


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"interrupted": True}, "interrupted after 10 s"),
        ({"thresholds": [{"name": "max_p95_ms", "limit": 1, "value": 2, "held": False}]}, "1 of 1 thresholds broken"),
        ({"thresholds": [{"name": "max_p95_ms", "limit": 3, "value": 2, "held": True}]}, "all thresholds held"),
        (
            {"thresholds": [{"name": "max_p95_ms", "limit": 3, "value": 2, "held": True}], "complete": False},
            "the load was not complete",
        ),
        ({"steps": [], "step_seconds": 5, "limit": 31.25}, "the limit is 31.2 requests/s"),
        ({"steps": [], "step_seconds": 5, "limit": None}, "not even the first rate held"),
    ],
)
def test_the_verdict_is_the_first_thing_to_read(changes, verdict):
    assert verdict in render(make_summary(**changes), SAMPLES).partition("<svg")[0]


def test_a_test_without_samples_has_a_report():
    page = render(make_summary(**summarize([], 10, 0)), [])

    assert "No request failed." in page


def test_the_timeline_keeps_every_request():
    line = make_timeline(SAMPLES, 10)

    assert sum(line.rates["asked"]) * line.width == pytest.approx(100)
    assert sum(line.errors["status 503"]) == pytest.approx(10)
    assert sum(line.outcomes["succeeded"]) == pytest.approx(90)
    assert line.latencies["p50"][0] == pytest.approx(25.5)


@pytest.mark.parametrize("seconds", [0.4, 20.1, 20.9, 181.0])
def test_no_rate_counts_answers_after_the_end_or_in_a_moment(seconds):
    due = [(index + 0.5) / 10 for index in range(int(seconds * 10))]
    line = make_timeline([Sample(0, at, 0.0, 3000.0, "GET /", 1, 200, "", "") for at in due], seconds)

    assert line.rates["asked"] == pytest.approx([10] * len(line.times), rel=0.05)
    assert line.rates["held"] == pytest.approx([0 if at < 3 else 10 for at in line.times], rel=0.05)
    assert 0 < line.times[0] < line.times[-1] < seconds or len(line.times) == 1


def test_no_rate_held_counts_answers_after_the_end_of_their_step():
    late = [Sample(0, at, 0.0, 2000.0, "GET /", 1, 200, "", "") for at in (0.5, 9.5)]
    line = make_timeline(late, 20, ends=[10, 20])

    assert [at for at, rate in zip(line.times, line.rates["held"], strict=True) if rate] == [2.5]


def test_a_second_without_a_request_interrupts_the_line():
    plot = line_plot("t", "ms", [0.5, 1.5, 2.5], {"p50": [1.0, None, 1.0]}, 3)

    assert plot.series[0].path.count("M") == 2


@pytest.mark.parametrize(("limit", "place"), [(10, 50), (25, 0), (50, None)])
def test_a_limit_is_a_line_unless_it_is_far_above_the_values(limit, place):
    plot = line_plot("t", "ms", [1, 2], {"p95": [10.0, 16.0]}, 2, limit=("p95 limit", limit))

    assert plot.limit.text == "p95 limit"
    assert plot.limit.at == pytest.approx(place) if place is not None else plot.limit.at < 0


def test_the_threshold_of_the_latency_is_in_its_plot():
    broken = {"name": "max_p95_ms", "limit": 50, "value": 120, "held": False}
    latency = make_plots(make_summary(thresholds=[broken]), SAMPLES)[1]

    assert latency.limit.text == "p95 limit 50"
    assert 0 < latency.limit.at < 100


def test_the_rates_of_a_search_are_marked_where_they_began():
    step = {"held": True, "thresholds": [], "summary": summarize(SAMPLES, 10, len(SAMPLES))}
    steps = [step | {"rps": rps} for rps in (20, 25)]
    rates = make_plots(make_summary(steps=steps, step_seconds=5.0, limit=25), SAMPLES)[0]

    assert [(mark.at, mark.text) for mark in rates.marks] == [(0, "20/s"), (50, "25/s")]


@pytest.mark.parametrize("others", [[], ["succeeded"] * 3, ["unknown"] * 3])
def test_an_outcome_has_the_same_colour_in_each_report(others):
    samples = [SAMPLES[1]._replace(outcome=outcome) for outcome in ["failed", *others]]
    outcomes = make_plots(make_summary(), samples)[2]

    assert {series.name: series.colour for series in outcomes.series}["failed"] == OUTCOMES["failed"]


def test_areas_lie_on_top_of_each_other():
    plot = area_plot("t", "/s", [1, 2], {"a": [3.0, 3.0], "b": [2.0, 2.0]}, 2, empty="none")

    assert plot.y_ticks[-1].text == "5"
    assert plot.series[0].path.split("L")[0][1:] == plot.series[1].path.split("L")[-1][:-1]


def test_results_that_cannot_be_completed_leave_the_earlier_ones(tmp_path):
    write_results(tmp_path, make_summary(), SAMPLES)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(TypeError):
        write_results(tmp_path, make_summary(rps=object()), SAMPLES[:1])

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert set(before) == {"load_summary.json", "load_samples.csv", "load_report.html"}
