"""The plan of a load test: at which rate requests are due, and when each of them is."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# The share of the highest rate that is due when a part `x` (0 to 1) of the test has passed.
SHAPES: dict[str, Callable[[float], float]] = {
    "steady": lambda x: 1.0,
    "ramp": lambda x: 0.1 + 0.9 * x,
    "spike": lambda x: 1.0 if 0.45 <= x < 0.55 else 1 / 3,
    # From midnight to midnight: quiet at 4, busiest at 16.
    "diurnal": lambda x: 0.55 - 0.45 * math.cos(2 * math.pi * (x - 1 / 6)),
    # A third of the test is quiet; then all come at once, and their interest fades.
    "flash-sale": lambda x: 0.2 if x < 1 / 3 else 0.2 + 0.8 * math.exp(-6 * (x - 1 / 3)),
}


@dataclass(frozen=True)
class Plan:
    """`rps` is the highest rate of the shape. After `duration`, requests in progress may take `drain` more seconds."""

    rps: float
    duration: float  # seconds
    shape: str = "steady"
    drain: float = 10.0  # seconds

    def rate(self, at: float) -> float:
        """Return the requests per second that are due at this time after the start."""
        return self.rps * SHAPES[self.shape](at / self.duration)

    def due_times(self) -> Iterator[float]:
        """Return the seconds after the start at which a request is due. The service's answers do not change them."""
        at = 0.5 / self.rate(0)  # the middle of its interval
        while at < self.duration:
            yield at
            at += 1 / self.rate(at)
