"""The throttle's arithmetic on a clock that the test moves, and its file between real processes."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from payments.api.throttling import CELLS, Throttle


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(path: Path, clock: Clock, *, rate: float = 2, burst: float = 4) -> Throttle:
    return Throttle(path / "throttle", rate=rate, burst=burst, clock=clock)


@pytest.fixture
def throttle(tmp_path, clock) -> Throttle:
    return make(tmp_path, clock)


def take(throttle: Throttle, times: int, key: int = 1) -> list[float]:
    return [throttle.take(key) for _ in range(times)]


def test_the_burst_is_free_and_then_one_has_to_wait(throttle):
    assert take(throttle, 4) == [0, 0, 0, 0]
    assert throttle.take(1) == pytest.approx(0.5)


def test_a_client_is_accepted_after_the_advised_wait_and_not_earlier(throttle, clock):
    take(throttle, 4)
    wait = throttle.take(1)

    clock.now += wait - 0.01
    assert throttle.take(1) == pytest.approx(0.01)
    clock.now += 0.011
    assert throttle.take(1) == 0


def test_a_refusal_costs_nothing(throttle, clock):
    take(throttle, 4)
    assert all(take(throttle, 100))

    clock.now += 0.5

    assert throttle.take(1) == 0


def test_a_steady_rate_is_never_refused(throttle, clock):
    for _ in range(1000):
        assert throttle.take(1) == 0
        clock.now += 0.5


def test_a_pause_brings_the_burst_back_and_no_more(throttle, clock):
    take(throttle, 4)
    clock.now += 3600

    assert [wait > 0 for wait in take(throttle, 5)] == [False, False, False, False, True]


def test_keys_do_not_share_their_limit(throttle):
    take(throttle, 4, key=1)

    assert throttle.take(1) > 0
    assert throttle.take(2) == 0


def test_keys_of_one_cell_do(throttle):
    take(throttle, 4, key=1)

    assert throttle.take(1 + CELLS) > 0


def test_a_batch_is_let_through_whole_and_paid_for_afterwards(throttle, clock):
    assert throttle.take(1, 1000) == 0

    wait = throttle.take(1)

    assert wait == pytest.approx((1000 + 1) / 2 - 4 / 2)
    clock.now += wait + 0.001
    assert throttle.take(1) == 0


@pytest.mark.parametrize("seconds", [600, 86_400])
def test_a_clock_that_is_set_back_locks_no_client_out(throttle, clock, seconds):
    take(throttle, 4)

    clock.now -= seconds + 1000 / 2

    assert throttle.take(1) == 0


def test_a_low_rate_does_not_forget_a_batch(tmp_path, clock):
    throttle = make(tmp_path, clock, rate=0.1, burst=1)
    throttle.take(1, 1000)

    clock.now += 3600

    assert throttle.take(1) == pytest.approx(10_000 - 3600)


def test_the_count_outlives_the_process(tmp_path, clock):
    take(make(tmp_path, clock), 4)

    assert make(tmp_path, clock).take(1) > 0


def test_a_directory_that_cannot_be_written_is_an_error_each_time(tmp_path, clock):
    (tmp_path / "file").write_text("")
    throttle = make(tmp_path / "file", clock)

    for _ in range(2):
        with pytest.raises(OSError, match="file"):
            throttle.take(1)


def hammer(path: Path, ready: Any, results: Any) -> None:
    throttle = Throttle(path / "throttle", rate=100, burst=50)
    accepted = 0
    ready.wait(30)
    end = time.time() + 1
    while time.time() < end:
        accepted += throttle.take(1) == 0
    results.put(accepted)


@pytest.mark.processes
def test_the_limit_is_exact_between_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=hammer, args=(tmp_path, ready, results)) for _ in range(3)]
    for process in processes:
        process.start()
    ready.wait(30)
    start = time.time()
    accepted = sum(results.get(timeout=30) for _ in processes)
    seconds = time.time() - start
    for process in processes:
        process.join()

    assert 50 + 100 * 0.9 <= accepted <= 50 + 100 * (seconds + 0.1) + 1
