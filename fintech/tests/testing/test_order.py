"""The order of the tests is random within its limits, and no quick test starts a process."""

import os
import random
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from fintech.testing.order import pytest_collection_modifyitems, unit_of

FILES = ["payments/tests/api/test_auth.py", "payments/tests/api/test_lists.py", "payments/tests/test_fraud.py"]


@dataclass(frozen=True)
class Item:
    nodeid: str
    line: int = 0
    marks: frozenset[str] = field(default_factory=frozenset)

    @property
    def location(self) -> tuple[str, int, str]:
        return self.nodeid, self.line, self.nodeid

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


def arranged(*items: Item) -> list[Item]:
    """Return the order that they get; the one before does not matter."""
    found = random.sample(items, len(items))
    pytest_collection_modifyitems(found)
    return found


def test_files_that_share_a_fixture_of_their_folder_are_one_unit():
    assert [unit_of(file) for file in FILES] == ["payments/tests/api", "payments/tests/api", FILES[2]]


def test_a_unit_is_not_interrupted():
    items = arranged(*(Item(f"{file}::test_{number}") for file in FILES for number in range(20)))

    units = [unit_of(item.nodeid.partition("::")[0]) for item in items]
    assert sum(one != other for one, other in pairwise(units)) == 1


def test_files_that_start_processes_come_first():
    quick = [Item(f"{FILES[2]}::test_{number}") for number in range(5)]
    slow = Item("payments/tests/test_tracing.py::test_one", marks=frozenset({"processes"}))

    assert arranged(*quick, slow)[0] == slow


def test_slow_files_are_spread_over_the_first_two_thirds_of_those_that_start_processes():
    names = [f"payments/tests/test_{number}.py::test_one" for number in range(90)]
    slow = [Item(name, marks=frozenset({"processes", "slow"})) for name in names[:10]]
    others = [Item(name, marks=frozenset({"processes"})) for name in names[10:]]

    places = [place for place, item in enumerate(arranged(*slow, *others)) if item in slow]

    assert places[-1] < 70
    assert min(later - earlier for earlier, later in pairwise(places)) > 4


def test_the_steps_of_a_story_stay_in_their_order():
    marks = frozenset({"in_order"})
    steps = [Item(f"{FILES[2]}::test_{line}", line, marks) for line in range(20)]

    assert arranged(*steps) == steps


@pytest.mark.parametrize("start", [lambda: subprocess.run(["true"], check=True), os.fork], ids=["program", "fork"])
def test_a_test_that_is_not_marked_starts_no_process(start):
    with pytest.raises(RuntimeError, match=r"test_order\.py.* starts a process .*: mark it `processes`"):
        start()


@pytest.mark.processes
def test_a_test_that_is_marked_may():
    subprocess.run(["true"], check=True)
