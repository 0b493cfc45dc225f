from pathlib import Path

import pytest

from loadtests.quiet.rules_time import HISTORY_HOURS, OBJECTIVES, SCRAPE_SECONDS, history, scale_counts

RULES = Path(__file__).resolve().parents[3] / "observability" / "prometheus" / "rules"


@pytest.mark.parametrize(
    ("text", "scaled"),
    [
        ("kpi:transactions:rate5m >= 30 / 300", "kpi:transactions:rate5m >= 30 / 15"),
        ("rate(errors_total[10m])) >= 3 / 600", "rate(errors_total[10m])) >= 3 / 30"),
        (
            "300 * sum_over_time(slo:bad_events:rate5m[6h:5m]) >= 10",
            "15 * sum_over_time(slo:bad_events:rate5m[6h:5m]) >= 10",
        ),
        ("x > 0.05 and y > 300", "x > 0.05 and y > 300"),
    ],
)
def test_a_number_of_events_per_window_stays_that_number(text, scaled):
    assert scale_counts(text, 20) == scaled


def test_real_time_changes_no_rule():
    for path in RULES.glob("*.yml"):
        assert scale_counts(path.read_text(), 1) == path.read_text()


def test_the_history_has_every_objective():
    text = (RULES / "slo.yml").read_text()

    for labels in OBJECTIVES:
        slo = labels.split('"')[1]
        assert f"slo: {slo}," in text
    assert text.count("slo:objective:ratio\n") == len(OBJECTIVES)


def test_the_history_ends_now_and_is_as_long_as_the_longest_window():
    times = [float(line.split()[-1]) for line in history(20, 1_000_000.0) if line.startswith("slo:events")]

    assert 1_000_000 - max(times) < 10 * SCRAPE_SECONDS
    assert 1_000_000 - min(times) == pytest.approx(HISTORY_HOURS * 3600 / 20, rel=0.01)
