import pytest

from loadtests.run.limit import DEFAULTS, Step, as_row, at_rate, find_limit, rate_that_held, with_defaults
from loadtests.run.thresholds import Thresholds

WHOLE = {"complete": True}


def measure_up_to(limit: float):
    return lambda rps: Step(rps, WHOLE, [{"held": rps <= limit}], [])


@pytest.mark.parametrize("limit", [10, 11, 99, 1234])
def test_the_rate_that_held_is_close_below_the_limit(limit):
    found = rate_that_held(find_limit(10, measure_up_to(limit)))

    assert limit / 1.0625 < found <= limit


def test_after_a_first_rate_that_broke_there_is_no_search():
    steps = find_limit(10, measure_up_to(5))

    assert [step.rps for step in steps] == [10]
    assert rate_that_held(steps) is None


def test_an_interrupted_step_ends_the_search_and_does_not_count():
    results = iter([Step(10, WHOLE, [], []), None])
    steps = find_limit(10, lambda rps: next(results))

    assert [step.rps for step in steps] == [10]


def test_a_step_whose_load_was_not_complete_does_not_hold():
    assert not Step(10, {"complete": False}, [{"held": True}], []).held


def test_each_step_has_its_warnings_and_the_search_has_them_with_its_rate():
    slow = ["Load process 0 was the bottleneck."]

    assert as_row(Step(78.125, WHOLE, [], slow))["warnings"] == slow
    assert at_rate(78.125, slow) == ["At 78.1 requests/s: Load process 0 was the bottleneck."]


def test_a_given_threshold_replaces_the_usual_one():
    found = with_defaults(Thresholds(max_p95_ms=50, max_error_rate=0.0))

    assert found == Thresholds(0.0, 50, DEFAULTS.min_rate_held)
