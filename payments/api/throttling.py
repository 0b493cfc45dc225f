"""The rate limit of each API key, over all processes of this host.

The generic cell rate algorithm needs one number per key: the time at which the key has used up no capacity. The numbers
are in one small memory-mapped file, each under a lock on its own eight bytes, so no server is needed. The limit is
exact on one host; n hosts allow n times as much. `shared_throttling.py` counts over all hosts instead.
"""

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from payments.schemas import MAX_BATCH

if TYPE_CHECKING:
    from payments.api.shared_throttling import SharedThrottle

_CELL = struct.Struct("d")
CELLS = 65_536  # further keys share a cell with another key, and both count together


class Throttle:
    """`rate` requests a second, up to `burst` of them at once."""

    def __init__(self, path: Path, *, rate: float, burst: float, clock: Callable[[], float] = time.time) -> None:
        self._interval, self._ahead, self._clock = 1 / rate, burst / rate, clock
        self._most_ahead = self._ahead + MAX_BATCH * self._interval
        self._path, self._lock = path, threading.Lock()
        self._file: int | None = None

    def take(self, key_id: int, cost: int = 1) -> float:
        """Count `cost` requests and return 0, or count none and return the seconds to wait.

        A batch may exceed the burst once if the key has free capacity. The key's next requests wait for the excess.
        """
        offset = (key_id % CELLS) * _CELL.size
        with self._lock:
            cells = self._cells()
            assert self._file is not None
            fcntl.lockf(self._file, fcntl.LOCK_EX, _CELL.size, offset)
            try:
                now = self._clock()
                even = _CELL.unpack_from(cells, offset)[0]
                if even > now + self._most_ahead:
                    even = now  # impossible: the clock was set back, or the limit was changed
                even = max(even, now)
                wait = even + self._interval - now - self._ahead
                if wait > 0:
                    return wait
                _CELL.pack_into(cells, offset, even + cost * self._interval)
                return 0.0
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _CELL.size, offset)

    def _cells(self) -> mmap.mmap:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _fill(file)
                self._map = mmap.mmap(file, CELLS * _CELL.size)
            except OSError:
                os.close(file)
                raise
            self._file = file
        return self._map


def _fill(file: int) -> None:
    """Extend the file with written zeros: a write to a mapped hole on a full disk would kill the process."""
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        size = os.fstat(file).st_size
        if size < CELLS * _CELL.size:
            os.pwrite(file, bytes(CELLS * _CELL.size - size), size)
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)


def make_throttle() -> "Throttle | SharedThrottle":
    """Return the throttle of the settings: over all hosts with THROTTLE_URL, otherwise of this host."""
    rate, burst = settings.THROTTLE_RATE, settings.THROTTLE_BURST
    own = Throttle(settings.RUNTIME_DIR / "throttle", rate=rate, burst=burst)
    if not settings.THROTTLE_URL:
        return own
    from payments.api.shared_throttling import SharedThrottle  # its client is a tenth of the start of each process

    timeout = settings.THROTTLE_TIMEOUT_SECONDS
    return SharedThrottle(settings.THROTTLE_URL, own, rate=rate, burst=burst, timeout=timeout)
