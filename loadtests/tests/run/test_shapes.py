from itertools import pairwise

import pytest

from loadtests.run.shapes import SHAPES, Plan


def test_a_steady_plan_has_one_request_in_each_interval():
    times = list(Plan(rps=4, duration=2).due_times())

    assert times == pytest.approx([0.125 + 0.25 * index for index in range(8)])


@pytest.mark.parametrize("rps", [0.3, 12, 333.3])
def test_a_steady_plan_has_as_many_requests_as_rate_and_duration_say(rps):
    assert len(list(Plan(rps, duration=60).due_times())) == pytest.approx(60 * rps, abs=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_exceeds_the_asked_rate_or_stops_entirely(shape):
    rates = [Plan(50, 100, shape).rate(at / 10) for at in range(1001)]

    assert max(rates) == pytest.approx(50, rel=0.01)
    assert min(rates) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_the_requests_of_a_shape_are_due_at_its_rate(shape):
    plan = Plan(100, 60, shape)

    for before, after in pairwise(plan.due_times()):
        assert after - before == pytest.approx(1 / plan.rate(before))


def test_a_flash_sale_begins_at_once_and_fades():
    plan = Plan(100, 90, "flash-sale")

    assert [round(plan.rate(at)) for at in (29, 30, 40, 89)] == [20, 100, 61, 22]


def test_a_day_is_quiet_at_four_and_busiest_at_sixteen():
    rates = [Plan(100, 24, "diurnal").rate(hour) for hour in range(24)]

    assert rates.index(min(rates)) == 4
    assert rates.index(max(rates)) == 16
