"""Observations of a histogram are written once a turn of the loop, with the same result as one at a time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from fintech.server import cooperation
from fintech.telemetry.observations import Observations
from fintech.testing.tasks import event_loop, run_task

BUCKETS = (0.1, 0.5, 1.0)
SECONDS = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 1.1, 1e9]), min_size=1, max_size=20)


def histogram() -> Histogram:
    return Histogram("seconds", "Seconds.", buckets=BUCKETS, registry=CollectorRegistry())


def samples(of: Histogram) -> dict[tuple[str, str | None], float]:
    return {(sample.name, sample.labels.get("le")): sample.value for sample in next(iter(of.collect())).samples}


@given(SECONDS)
def test_observations_of_a_turn_count_as_those_of_a_histogram(seconds):
    expected, counted = histogram(), histogram()
    observations = Observations(counted)

    def task() -> None:
        for one in seconds:
            observations.observe(one)

    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:
        run_task(loop, task)

    for one in seconds:
        expected.observe(one)
    assert samples(counted) == pytest.approx(samples(expected))


def test_observations_are_written_at_the_end_of_their_turn_and_each_once():
    counted = histogram()
    observations = Observations(counted)
    seen = []

    def task() -> None:
        observations.observe(0.3)
        seen.append(samples(counted)["seconds_count", None])
        cooperation.end_turn()
        seen.append(samples(counted)["seconds_count", None])
        observations.observe(0.3)

    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:
        run_task(loop, task)

    assert seen == [0, 1]
    assert samples(counted)["seconds_count", None] == 2


@given(SECONDS)
def test_observations_of_a_thread_are_written_at_once(seconds):
    expected, counted = histogram(), histogram()

    Observations(counted).observe(*seconds)

    for one in seconds:
        expected.observe(one)
    assert samples(counted) == pytest.approx(samples(expected))


def test_no_observation_counts_nothing():
    counted = histogram()

    Observations(counted).observe()

    assert samples(counted)["seconds_count", None] == 0
