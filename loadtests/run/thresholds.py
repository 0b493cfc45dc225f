"""The thresholds of a load test, and the warnings about the load itself."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

MAX_CPU = 0.9  # of one core; a load process uses no more than one
BUSY_CPU = 0.5  # below it, a late process waited for the processor
MAX_LAG_MS = 20.0
MAX_LATE_SHARE = 0.01
LATE_MS = 50.0


@dataclass(frozen=True)
class Thresholds:
    """Limits that end a test with exit code 1; None is no limit."""

    max_error_rate: float | None = None
    max_p95_ms: float | None = None
    min_rate_held: float | None = None

    def check(self, summary: dict[str, Any]) -> list[dict[str, Any]]:
        """Return each limit with the value of the test, and if it held."""
        values = {
            "max_error_rate": summary["error_rate"],
            "max_p95_ms": summary["latency_ms"]["p95"],
            "min_rate_held": summary["rate"]["held_ratio"],
        }
        return [
            {"name": name, "limit": limit, "value": values[name], "held": holds(name, values[name], limit)}
            for name, limit in asdict(self).items()
            if limit is not None
        ]


def holds(name: str, value: float, limit: float) -> bool:
    return value >= limit if name.startswith("min_") else value <= limit


class Process(NamedTuple):
    """The load process itself: its share of a core, and how late it made requests due (99th percentile)."""

    number: int
    cpu: float
    lag_ms: float


def advice(process: Process) -> str:
    if process.cpu > BUSY_CPU:
        return "Use more --processes, or another machine."
    return "Other programs used its machine: stop them, or use another machine."


def warnings(processes: list[Process], late_share: float, workers: int, *, planned: int, lost: int) -> list[str]:
    """Return sentences about a load that was not the planned one."""
    found = [
        f"Load process {process.number} was the bottleneck ({process.cpu:.0%} of a core, requests due"
        f" {process.lag_ms:.0f} ms late): its delay is part of the latencies. {advice(process)}"
        for process in processes
        if process.cpu > MAX_CPU or process.lag_ms > MAX_LAG_MS
    ]
    if late_share > MAX_LATE_SHARE:
        found.append(
            f"All {workers} simulated merchants waited for answers when {late_share:.1%} of the requests were due:"
            " the service is saturated or stalled, or --workers is too low for this rate."
        )
    if not planned:
        found.append("No request was due: the test was too short for this rate.")
    if lost:
        found.append(f"{lost} load processes ended before the test did: their last requests are missing.")
    return found
