"""The platforms of several drills: one after the other, shared by faults of the same conditions."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from loadtests.drill import NotPossible
from loadtests.drill.faults.catalogue import Fault
from loadtests.drill.lab import Conditions, Drill, running_drill


class Platforms:
    """The platform of the current drill, which the next fault gets if it needs the same conditions."""

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder = make_folder
        self._conditions: Conditions | None = None
        self._drill: Drill | None = None
        self._stack = ExitStack()

    @contextmanager
    def platform_for(self, fault: Fault) -> Iterator[Drill]:
        """Provide a platform. It ends with the fault if this fails, or if a platform cannot forget the fault."""
        drill = self._get(fault.conditions)
        if missing := set(fault.needs) - drill.jobs:
            raise NotPossible(f"needs the exporters {', '.join(sorted(missing))}")
        spoilt = True
        try:
            yield drill
            spoilt = fault.spoils or not fault.resolves
        finally:
            if spoilt:
                self.close()

    def _get(self, conditions: Conditions) -> Drill:
        if self._drill is None or self._conditions != conditions:
            self.close()
            self._drill = self._stack.enter_context(running_drill(self._make_folder(), conditions))
            self._conditions = conditions
        return self._drill

    def close(self) -> None:
        self._drill = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
