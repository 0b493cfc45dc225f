import pytest

from loadtests.run.samples import NOT_SENT, Sample
from loadtests.run.summary import lately, percentiles, summarize


def sample(due: float, *, late: float = 0, response: float = 10, attempt: int = 1, status: int = 201, error: str = ""):
    return Sample(0, due, late, response, "POST /v1/transactions", attempt, status, "succeeded", error)


def test_the_latency_counts_from_the_due_time():
    summary = summarize([sample(0, late=5000, response=20)], seconds=10, planned=1)

    assert summary["latency_ms"]["max"] == 5020
    assert summary["response_ms"]["max"] == 20


def test_an_answer_after_the_end_does_not_count_as_held():
    samples = [sample(1), sample(2), sample(9, response=3000)]

    assert summarize(samples, seconds=10, planned=3)["rate"] == {"asked": 0.3, "held": 0.2, "held_ratio": 2 / 3}


def test_an_answer_after_the_end_of_its_step_does_not_count_as_held_in_the_total():
    samples = [sample(1), sample(9, response=3000), sample(10), sample(19, response=3000), sample(20.1)]

    rate = summarize(samples, seconds=20, planned=5, ends=[10, 20])["rate"]

    assert (rate["held"], rate["held_ratio"]) == (0.1, 0.4)


def test_an_answer_is_held_even_if_it_is_an_error():
    summary = summarize([sample(1, status=503, error="HTTPError: 503")], seconds=10, planned=1)

    assert summary["rate"]["held_ratio"] == 1
    assert summary["error_rate"] == 1


def test_a_request_without_a_merchant_is_not_sent_and_not_held():
    samples = [sample(1), sample(2, late=9000, response=0, status=0, error=NOT_SENT)]
    summary = summarize(samples, seconds=10, planned=2)

    assert summary["requests"]["not_sent"] == 1
    assert summary["rate"]["held_ratio"] == 0.5
    assert summary["latency_ms"]["max"] == 9000


def test_a_repeated_request_is_no_due_one():
    summary = summarize([sample(1, status=503, error="503"), sample(2, attempt=2)], seconds=10, planned=1)

    counts = {"planned": 1, "due": 1, "answered": 1, "not_sent": 0, "repeated": 1, "failed": 1}
    assert summary["requests"] == counts
    assert summary["rate"]["asked"] == 0.1
    assert summary["error_rate"] == 0.5


def test_the_requests_of_a_lost_load_process_were_asked_and_not_held():
    summary = summarize([sample(1), sample(2)], seconds=10, planned=4, lost=1)

    assert summary["rate"] == {"asked": 0.4, "held": 0.2, "held_ratio": 0.5}
    assert (summary["requests"]["planned"], summary["requests"]["due"]) == (4, 2)


@pytest.mark.parametrize(("planned", "lost", "complete"), [(1, 0, True), (1, 1, False), (0, 0, False)])
def test_a_load_is_complete_with_a_request_and_all_load_processes(planned, lost, complete):
    assert summarize([sample(1)] * planned, 10, planned, lost)["complete"] == complete


def test_a_test_without_requests_has_zeros():
    summary = summarize([], seconds=1, planned=0)

    assert summary["rate"] == {"asked": 0, "held": 0, "held_ratio": 0}
    assert summary["latency_ms"]["p99"] == 0


@pytest.mark.parametrize(("values", "p50", "p99"), [([7.0], 7, 7), ([1.0, 3.0], 2, 2.98), (list(range(101)), 50, 99)])
def test_percentiles_lie_between_the_values(values, p50, p99):
    found = percentiles(values)

    assert (found["p50"], found["p99"]) == pytest.approx((p50, p99))


@pytest.mark.parametrize("delay", [0.0, 0.25, 0.45])
@pytest.mark.parametrize("now", [1.5, 10.0])
def test_the_rate_of_late_does_not_depend_on_the_delay_of_reports(now, delay):
    reported = [sample(number / 20 - 0.01) for number in range(1, int((now - delay) * 20) + 1)]

    assert lately(reported, now)[1] == pytest.approx(20)


@pytest.mark.parametrize(("samples", "now"), [([], 10), ([sample(0.1)], 0.3), ([sample(1)], 20)])
def test_without_an_answer_of_late_the_rate_is_zero(samples, now):
    assert lately(samples, now) == ([], 0)
