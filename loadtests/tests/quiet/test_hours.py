from itertools import pairwise

import pytest

from loadtests.quiet.disturbances import DISTURBANCES, REAL_TIME_ONLY
from loadtests.quiet.hours import MIXTURES, events


def test_each_hour_begins_with_its_traffic():
    found = [(event.minute, event.traffic.name) for event in events(3.5, "mixed", real_time=True) if event.traffic]

    assert found == [(0, "normal"), (60, "nightly"), (120, "low"), (180, "normal")]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_events_are_in_order_and_within_the_hours(mixture):
    found = events(2, mixture, real_time=True)

    assert all(before.minute <= after.minute for before, after in pairwise(found))
    assert found[-1].minute < 120


def test_three_hours_have_every_disturbance():
    assert {event.disturbance for event in events(3, "low", real_time=True)} == {None, *DISTURBANCES}


def test_a_restart_is_for_real_time_only():
    found = {event.disturbance for event in events(3, "low", real_time=False)}

    assert found == {None, *DISTURBANCES} - set(REAL_TIME_ONLY)


def test_a_slow_database_always_ends():
    names = [event.disturbance for event in events(9, "normal", real_time=False) if event.disturbance]

    assert names[names.index("slow database") + 1] == "end of the slow database"
