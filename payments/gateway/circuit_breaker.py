"""A circuit breaker: while the gateway is down, payments fail at once instead of waiting for it.

Our own, because the library we tried holds its lock for the length of a call, and calls run side by side here.
"""

import threading
import time
from collections.abc import Callable

MAX_FAILURES = 10
PAUSE_SECONDS = 5.0


class CircuitBreaker:
    """Opens after `failures` in a row. After `pause_seconds` one caller may try; its result closes or reopens.

    `on_change` is called when it opens and when it closes.
    """

    def __init__(
        self,
        *,
        failures: int = MAX_FAILURES,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool], None] = lambda is_open: None,
    ) -> None:
        self._most, self._pause, self._clock = failures, pause_seconds, clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0

    def allows(self) -> bool:
        """Return True if this caller may try. While the breaker is open, one caller may try every `pause_seconds`."""
        if self._failures < self._most:
            return True
        with self._lock:
            if self._clock() < self._open_until:
                return False
            self._open_until = self._clock() + self._pause  # the others wait for the result of this call
            return True

    def succeeded(self) -> None:
        if self._failures:
            with self._lock:
                was_open = self._failures >= self._most
                self._failures = 0
                if was_open:
                    self._on_change(False)

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= self._most:
                self._open_until = self._clock() + self._pause
            if self._failures == self._most:
                self._on_change(True)
