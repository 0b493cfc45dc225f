"""The platforms of drills: which faults share one, and which run at once."""

from itertools import chain, pairwise

from loadtests.drill.faults import FAULTS
from loadtests.drill.platforms import groups, longest_seconds


def test_each_fault_is_in_one_group_in_the_order_of_the_catalogue():
    found = groups(FAULTS)
    assert sorted(chain.from_iterable(found), key=FAULTS.index) == FAULTS
    assert all(FAULTS.index(first) + 1 == FAULTS.index(second) for group in found for first, second in pairwise(group))


def test_a_platform_gets_no_other_fault_after_one_that_it_cannot_forget_or_with_other_conditions():
    for first, second in chain.from_iterable(map(pairwise, groups(FAULTS))):
        assert first.conditions == second.conditions
        assert first.resolves
        assert not first.spoils
    assert max(map(len, groups(FAULTS))) > 5


def test_the_group_that_may_last_longest_is_the_first_so_that_no_other_waits_for_it_at_the_end():
    times = [longest_seconds(group) for group in groups(FAULTS)]
    assert times == sorted(times, reverse=True)
    assert times[0] > 600
