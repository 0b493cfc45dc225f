"""The search for the highest rate at which every threshold holds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from loadtests.run.thresholds import Thresholds

GROWTH = 1.25
REFINEMENTS = 2  # steps between the highest rate that held and the lowest that did not
DEFAULTS = Thresholds(max_error_rate=0.01, max_p95_ms=500.0, min_rate_held=0.95)


@dataclass(frozen=True)
class Step:
    """One rate, with the figures and the warnings of the test at this rate."""

    rps: float
    summary: dict[str, Any]
    thresholds: list[dict[str, Any]]
    warnings: list[str]

    @property
    def held(self) -> bool:
        return bool(self.summary["complete"]) and all(threshold["held"] for threshold in self.thresholds)


def with_defaults(thresholds: Thresholds) -> Thresholds:
    """Return the thresholds, with a usual one for each that is not given."""
    given = {name: value for name, value in vars(thresholds).items() if value is not None}
    return replace(DEFAULTS, **given)


def find_limit(start: float, measure: Callable[[float], Step | None]) -> list[Step]:
    """Raise the rate until it does not hold, then refine it. `measure` returns None if Ctrl-C ended the step."""
    steps: list[Step] = []
    held = broken = 0.0
    rps, refinements = start, REFINEMENTS
    while (step := measure(rps)) is not None:
        steps.append(step)
        held, broken = (rps, broken) if step.held else (held, rps)
        if broken and (not held or not refinements):
            break
        refinements -= bool(broken)
        rps = (held + broken) / 2 if broken else rps * GROWTH
    return steps


def rate_that_held(steps: list[Step]) -> float | None:
    return max((step.rps for step in steps if step.held), default=None)


def at_rate(rps: float, warnings: list[str]) -> list[str]:
    """Return the warnings of one step among those of the search: any of them makes the limit doubtful."""
    return [f"At {rps:.1f} requests/s: {text}" for text in warnings]


def as_row(step: Step) -> dict[str, Any]:
    return {
        "rps": round(step.rps, 3),
        "held": step.held,
        "thresholds": step.thresholds,
        "warnings": step.warnings,
        "summary": step.summary,
    }
