"""Processor time and memory of whole process trees, from /proc."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil

from loadtests.bench.client import Result


@dataclass(frozen=True)
class Meter:
    """The process trees of one contender. `web` is None where there is none."""

    web: int | None
    postgres: int

    def read(self) -> tuple[float, float, float]:
        return tree_seconds(self.web) if self.web else 0.0, tree_seconds(self.postgres), time.process_time()


def tree_seconds(pid: int) -> float:
    """Return the processor time of a process and of its descendants, including ended ones."""
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def tree_megabytes(pid: int) -> float:
    """Return the resident memory of a process and its descendants. A page that they share counts once."""
    root = psutil.Process(pid)
    return sum(process.memory_full_info().pss for process in [root, *root.children(recursive=True)]) / 1e6


def measured(meter: Meter, contender: Callable[[], Result]) -> Callable[[], Result]:
    """Run `contender` and add to its result the processor time per payment, in milliseconds."""

    def run() -> Result:
        before = meter.read()
        result = contender()
        spent = [later - earlier for earlier, later in zip(before, meter.read(), strict=True)]
        web, postgres, client = (1000 * seconds / max(result.payments, 1) for seconds in spent)
        return replace(result, web_ms=web, postgres_ms=postgres, client_ms=client)

    return run
