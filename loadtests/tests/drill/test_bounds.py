"""Bounds are computed from the rules, and the scorecard keeps what other drills measured."""

from dataclasses import replace

import pytest

from loadtests.drill import bounds, page, scorecard
from loadtests.drill.faults import EXPORTED, FAULTS
from loadtests.drill.scorecard import Score
from loadtests.drill.steps import Timeline

ERRORS, LOSSES = FAULTS[0], FAULTS[2]


@pytest.mark.parametrize(
    ("alert", "seconds"),
    [
        ("PaymentErrorRatioHigh", 300),  # the window of the recorded ratio
        ("AuditSealStale", 300),  # an age
        ("NotificationsFailing", 180),
        ("WorkerJobFailing", 600 + 900),
        ("ServiceDown", 0),
    ],
)
def test_the_ramp_is_the_longest_window_and_age_that_the_rule_reads(alert, seconds):
    assert bounds.ramp(alert) == seconds


def test_an_alert_fires_after_its_ramp_its_for_a_scrape_and_two_evaluations():
    assert bounds.until_firing("PaymentErrorRatioHigh", ramp_seconds=None, scrape=20) == 300 + 120 + 60
    assert bounds.until_firing("PaymentErrorRatioHigh", ramp_seconds=50, scrape=20) == 50 + 120 + 60


def test_people_are_notified_after_the_wait_of_the_alerts_group():
    def wait(alert: str) -> float:
        firing = bounds.until_firing(alert, ramp_seconds=0, scrape=5)
        return bounds.until_notified(alert, ramp_seconds=0, scrape=5) - firing

    assert (wait("PaymentErrorRatioHigh"), wait("DeclineRatioHigh")) == (70, 90)


@pytest.mark.parametrize("text", ["5", "m", "5 m", "1h30m", ""])
def test_a_duration_that_prometheus_would_not_read_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        bounds.seconds(text)


def test_every_fault_has_another_name_and_a_bound_if_it_brings_an_alert():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all((Timeline(fault).bound is None) == (fault.alert is None) for fault in FAULTS)


def score(fault: str, alert: str, recorded: float) -> Score:
    return Score(fault, alert, "critical", "real", pending=60, firing=180, notified=200, recorded=recorded, bound=600)


def test_the_scorecard_keeps_the_other_faults_in_the_order_of_the_catalogue(tmp_path):
    scorecard.write([score(LOSSES.name, "GatewayTimeoutRatioHigh", 300)], tmp_path)
    scorecard.write([score(ERRORS.name, "PaymentErrorRatioHigh", 210)], tmp_path)
    scorecard.write([score(ERRORS.name, "PaymentErrorRatioHigh", 240)], tmp_path)

    assert [(row.fault, row.recorded) for row in scorecard.read(tmp_path).values()] == [
        (ERRORS.name, 240),
        (LOSSES.name, 300),
    ]
    assert (tmp_path / "scorecard.md").read_text().splitlines()[-1].startswith(f"| {LOSSES.name} | ")


def test_a_fault_that_the_catalogue_no_longer_has_leaves_the_scorecard(tmp_path):
    scorecard.write([score("a fault of the past", "PaymentErrorRatioHigh", 240)], tmp_path)
    assert scorecard.read(tmp_path) == {}


def test_the_page_shows_each_stage_and_the_bound_and_escapes_names():
    shown = page.html([score("<errors & more>", "PaymentErrorRatioHigh", 240)])
    assert "&lt;errors &amp; more&gt;" in shown
    assert "<errors" not in shown
    for title in ("pending after 1.0 min", "firing after 3.0 min", "notified after 3.3 min", "bound"):
        assert f"<title>{title}</title>" in shown
    assert "1 faults brought 1 alerts" in shown


def test_the_scorecard_counts_the_alerts_by_the_way_their_faults_are_made():
    first, second = score(ERRORS.name, "PaymentErrorRatioHigh", 210), score("memory runs out", "MemoryLow", 330)
    counted = scorecard.summary([first, replace(second, made=EXPORTED), replace(second, alert="Lost", recorded=None)])
    assert counted.startswith("**2 of ")
    assert counted.endswith(" by a fault of their own: 1 by a real one, 1 through an exporter.")
