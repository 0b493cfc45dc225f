"""The platforms of several drills: faults of the same conditions share one, if it can forget them."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from loadtests.drill import NotPossible
from loadtests.drill.faults import Fault
from loadtests.drill.lab import Drill, running_drill

Group = list[Fault]


def groups(faults: Iterable[Fault]) -> list[Group]:
    """Return the faults in groups that share a platform. The one that may last longest is the first."""
    found: list[Group] = []
    for fault in faults:
        before = found[-1][-1] if found else None
        if before and not spoils(before) and before.conditions == fault.conditions:
            found[-1].append(fault)
        else:
            found.append([fault])
    return sorted(found, key=longest_seconds, reverse=True)


def spoils(fault: Fault) -> bool:
    return fault.spoils or not fault.resolves


def longest_seconds(group: Group) -> float:
    return sum(
        (fault.minutes + fault.resolves * fault.resolves_within_minutes) * fault.conditions.minute for fault in group
    )


class Platforms:
    """The platform of a group, and another one after a drill that failed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._drill: Drill | None = None

    @contextmanager
    def platform_for(self, fault: Fault) -> Iterator[Drill]:
        """Provide a platform. It ends with the fault if this fails, or if a platform cannot forget the fault."""
        if self._drill is None:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            self._drill = self._stack.enter_context(running_drill(folder, fault.conditions))
        if missing := set(fault.needs) - self._drill.jobs:
            raise NotPossible(f"needs the exporters {', '.join(sorted(missing))}")
        spoilt = True
        try:
            yield self._drill
            spoilt = spoils(fault)
        finally:
            if spoilt:
                self._drill = None
                self._stack.close()


@contextmanager
def own_platforms(folder: Path) -> Iterator[Callable[[Fault], AbstractContextManager[Drill]]]:
    """Provide the platforms of a group. The last one ends with the block."""
    with ExitStack() as stack:
        yield Platforms(folder, stack).platform_for
