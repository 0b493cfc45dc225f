"""The circuit breaker, on a clock that the test moves."""

import pytest

from payments.gateway.circuit_breaker import CircuitBreaker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(failures=3, pause_seconds=5, clock=clock)


@pytest.fixture
def open_breaker(breaker: CircuitBreaker) -> CircuitBreaker:
    for _ in range(3):
        breaker.failed()
    return breaker


def test_it_lets_all_through_at_first(breaker):
    assert all(breaker.allows() for _ in range(100))


def test_it_stays_closed_below_its_number_of_failures(breaker):
    breaker.failed()
    breaker.failed()

    assert breaker.allows()


def test_a_success_in_between_resets_the_count(breaker):
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()

    assert breaker.allows()


def test_it_opens_after_that_many_failures_in_a_row(open_breaker):
    assert not any(open_breaker.allows() for _ in range(100))


def test_it_stays_open_for_its_pause(open_breaker, clock):
    clock.now += 4.99

    assert not open_breaker.allows()


def test_after_the_pause_one_may_try_and_the_others_wait_for_its_result(open_breaker, clock):
    clock.now += 5

    assert [open_breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_trial_that_succeeds_closes_it(open_breaker, clock):
    clock.now += 5
    assert open_breaker.allows()

    open_breaker.succeeded()

    assert all(open_breaker.allows() for _ in range(100))


def test_a_trial_that_fails_opens_it_again(open_breaker, clock):
    clock.now += 5
    assert open_breaker.allows()
    clock.now += 3

    open_breaker.failed()

    clock.now += 4.99
    assert not open_breaker.allows()
    clock.now += 0.01
    assert open_breaker.allows()


def test_a_trial_whose_result_never_comes_does_not_keep_it_open(open_breaker, clock):
    clock.now += 5
    assert open_breaker.allows()

    clock.now += 5

    assert open_breaker.allows()


def test_it_says_when_it_opens_and_closes(clock):
    said: list[bool] = []
    breaker = CircuitBreaker(failures=3, pause_seconds=5, clock=clock, on_change=said.append)

    for _ in range(5):
        breaker.failed()
    breaker.succeeded()
    breaker.failed()
    breaker.succeeded()

    assert said == [True, False]
