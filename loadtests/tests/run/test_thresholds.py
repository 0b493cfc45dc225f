import pytest

from loadtests.run.samples import Sample
from loadtests.run.summary import summarize
from loadtests.run.thresholds import Process, Thresholds, warnings

SUMMARY = {"error_rate": 0.02, "latency_ms": {"p95": 300.0}, "rate": {"held_ratio": 0.97}}
VALUES = {"max_error_rate": 0.02, "max_p95_ms": 300.0, "min_rate_held": 0.97}
HEALTHY = Process(0, cpu=0.4, lag_ms=2)


@pytest.mark.parametrize(
    ("name", "limit", "held"),
    [
        ("max_error_rate", 0.01, False),
        ("max_error_rate", 0.02, True),
        ("max_error_rate", 0.0, False),
        ("max_p95_ms", 299, False),
        ("max_p95_ms", 300, True),
        ("min_rate_held", 0.98, False),
        ("min_rate_held", 0.97, True),
    ],
)
def test_a_threshold_holds_up_to_its_limit(name, limit, held):
    assert Thresholds(**{name: limit}).check(SUMMARY) == [
        {"name": name, "limit": limit, "value": VALUES[name], "held": held}
    ]


def test_one_error_among_many_requests_breaks_a_limit_of_none():
    right = Sample(0, 1.0, 0.0, 10.0, "POST /v1/transactions", 1, 201, "succeeded", "")
    wrong = right._replace(status=200, error="wrong amount")

    [found] = Thresholds(max_error_rate=0.0).check(summarize([right] * 359_999 + [wrong], 3600, 360_000))

    assert not found["held"]


def test_without_a_limit_nothing_is_checked():
    assert Thresholds().check(SUMMARY) == []


def test_a_healthy_load_has_no_warning():
    assert warnings([HEALTHY], late_share=0.001, workers=30, lost=0, planned=9) == []


@pytest.mark.parametrize(
    ("process", "advice"),
    [
        (Process(1, cpu=0.97, lag_ms=2), "Use more --processes"),
        (Process(1, cpu=0.6, lag_ms=80), "Use more --processes"),
        (Process(1, cpu=0.01, lag_ms=80), "Other programs used its machine"),
    ],
)
def test_a_load_process_without_time_is_named_as_the_bottleneck_with_a_remedy(process, advice):
    (warning,) = warnings([HEALTHY, process], late_share=0, workers=30, lost=0, planned=9)

    assert warning.startswith("Load process 1 was the bottleneck")
    assert advice in warning


def test_merchants_who_all_wait_are_named():
    (warning,) = warnings([HEALTHY], late_share=0.2, workers=30, lost=0, planned=9)

    assert warning.startswith("All 30 simulated merchants waited")


def test_a_test_without_a_request_is_reported():
    (warning,) = warnings([HEALTHY], late_share=0, workers=30, lost=0, planned=0)

    assert warning.startswith("No request was due")


def test_a_lost_load_process_is_reported():
    (warning,) = warnings([HEALTHY], late_share=0, workers=30, lost=2, planned=9)

    assert warning.startswith("2 load processes ended before the test did")
