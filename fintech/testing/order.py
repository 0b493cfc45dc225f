"""The order of the tests, and which process runs which of them (pytest-randomly and pytest-xdist).

The order is random, and the seed is in pytest's first lines. It has three limits:

- Files whose tests start processes come first: the quick ones fill the end, when one process waits for the other.
  The slow ones among them are spread over the first two thirds: they would keep each other waiting, or be the last.
- The files of a folder that share a fixture (`scope="package"`), such as a platform, follow each other in one process.
- The tests of a file that is marked `in_order` are the steps of one story.
"""

import os
import sys
from collections.abc import Iterator
from functools import cache

import pytest
from xdist.scheduler import LoadScopeScheduling

from fintech.testing.processes import BASE_DIR


@cache
def unit_of(file: str) -> str:
    """Return the file, or its folder if that has fixtures for all of it.

    A unit runs in one process, without a break.
    """
    folder = file.rpartition("/")[0]
    conftest = BASE_DIR / folder / "conftest.py"
    return folder if conftest.exists() and 'scope="package"' in conftest.read_text(encoding="utf-8") else file


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def step_of(item: pytest.Item) -> list[int]:
    """Return the line of the test, and the places of its parameters."""
    parameters = getattr(item, "callspec", None)
    return [item.location[1] or 0, *(parameters.indices.values() if parameters else [])]


def spread(units: list[str], until: float) -> dict[str, float]:
    """Return places from 0 to `until`, at equal distances."""
    return {unit: until * number / len(units) for number, unit in enumerate(units)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the random order within the three limits."""
    first, with_processes, slow = dict[str, int](), dict[str, None](), set[str]()
    for number, item in enumerate(items):
        file = file_of(item.nodeid)
        first.setdefault(unit_of(file), number)
        first.setdefault(file, number)
        if item.get_closest_marker("processes"):
            with_processes[unit_of(file)] = None
            if item.get_closest_marker("slow"):
                slow.add(unit_of(file))
    places = spread([unit for unit in with_processes if unit in slow], until=2 / 3)
    places |= spread([unit for unit in with_processes if unit not in slow], until=1)

    def place(item: pytest.Item) -> tuple[float, int, int, list[int]]:
        file = file_of(item.nodeid)
        step = step_of(item) if item.get_closest_marker("in_order") else []
        return places.get(unit_of(file), 1), first[unit_of(file)], first[file], step

    items.sort(key=place)


class ProcessGuard:
    """An audit hook that refuses the processes of quick tests. It uses no globals: when Python ends, they are None."""

    starts = frozenset(["subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"])
    quick: pytest.Item | None = None

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        # Libraries ask `uname` for the processor's name.
        if self.quick is not None and event in self.starts and arguments[:1] != ("uname",):
            raise RuntimeError(f"{self.quick.nodeid} starts a process ({arguments[:2]}): mark it `processes`")


guard = ProcessGuard()
sys.addaudithook(guard)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Check the quick tests: a test that is not marked `processes` starts none."""
    guard.quick = None if item.get_closest_marker("processes") else item
    try:
        return (yield)
    finally:
        guard.quick = None


class ByUnit(LoadScopeScheduling):
    """A scheduler of the units in the order above; an idle process gets the next one."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(file_of(nodeid))


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes for `-n auto`, two for each core: half of the time, tests wait for programs."""
    return 2 * (os.cpu_count() or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByUnit:
    config.option.loadscopereorder = False
    return ByUnit(config, log)
