"""How far the clock of this host is from the database's, which leases and times of events use.

Ids contain the time of their host, and lists are sorted by id, so a host whose clock is far off is not ready.
"""

from prometheus_client import Gauge

MAX_SKEW_SECONDS = 5

SKEW = Gauge(
    "clock_skew_seconds",
    "How far this host's clock is from the database's, at least; 0 within the duration of a query.",
    multiprocess_mode="livemax",
)

_skew = 0.0


def compare(sent: float, server: float, received: float) -> None:
    """Note the server's time of an answer, which was made between these two times of this host."""
    global _skew  # noqa: PLW0603 - a process has one clock
    least, most = server - received, server - sent
    _skew = least if least > 0 else min(most, 0.0)
    SKEW.set(abs(_skew))


def is_skewed() -> bool:
    return abs(_skew) > MAX_SKEW_SECONDS
