"""A thread that watches the event loop: measures its lag, logs blocking code, and answers /health in the meantime.

Code that blocks on the loop (a slow disk, a name lookup, a long computation) stops all requests of its process.
`web_loop_lag_seconds` shows the lag, and a log line shows the position of the loop. New connections wait in the queue
that all processes share, so other processes accept them. If every loop is blocked, the watchdogs accept them and answer
liveness themselves. All other requests wait for the loop. gunicorn kills a process whose loop is blocked for `timeout`.
"""

import asyncio
import logging
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from prometheus_client import Gauge

logger = logging.getLogger("fintech.server")

TURN_SECONDS = 0.25
BLOCKED_SECONDS = 1.0
WINDOW = 60  # turns whose largest lag is exported, so that no scrape misses it
PEEK_SECONDS = 0.2
HEALTHY = b'{"status": "ok"}'
HEAD = (
    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(HEALTHY)}\r\n\r\n"
).encode()

Adopt = Callable[[socket.socket, bytes], None]


class Watchdog:
    """A watchdog. `adopt` receives, on the loop, each accepted connection that requests something else than /health."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listeners: Sequence[socket.socket], adopt: Adopt) -> None:
        self._loop, self._listeners, self._adopt = loop, listeners, adopt
        self._loop_thread = threading.get_ident()
        self._lags: deque[float] = deque(maxlen=WINDOW)
        self._answered = threading.Event()
        self._stopping = False
        self._gauge = Gauge(
            "web_loop_lag_seconds",
            "The longest delay of an event loop in the last seconds.",
            multiprocess_mode="livemax",
        )

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopping = True

    def _run(self) -> None:
        while not self._stopping:
            self._lags.append(self._measure())
            self._gauge.set(round(max(self._lags), 3))
            time.sleep(TURN_SECONDS)

    def _measure(self) -> float:
        """Measure how long the loop takes to answer."""
        begin = time.monotonic()
        self._answered.clear()
        with suppress(RuntimeError):  # the loop has just been closed
            self._loop.call_soon_threadsafe(self._answered.set)
        if not self._answered.wait(BLOCKED_SECONDS):
            self._report()
            while not (self._stopping or self._answered.wait(TURN_SECONDS)):
                self._gauge.set(round(time.monotonic() - begin, 3))
                self._answer_probes()
            logger.warning("loop_unblocked", extra={"seconds": round(time.monotonic() - begin, 2)})
        return time.monotonic() - begin

    def _report(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        where = "".join(traceback.format_stack(frame)) if frame else None
        logger.warning("loop_blocked", extra={"seconds": BLOCKED_SECONDS, "stack": where})

    # --- /health while the loop is blocked -----------------------------------------------------------------

    def _answer_probes(self) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                while not self._answered.is_set():
                    client, _ = listener.accept()
                    self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        data = b""
        client.settimeout(PEEK_SECONDS)
        with suppress(OSError):
            data = client.recv(4096)
        if data.startswith((b"GET /health ", b"HEAD /health ")) and data.endswith(b"\r\n\r\n"):
            with client, suppress(OSError):
                client.sendall(HEAD + (HEALTHY if data.startswith(b"GET") else b""))
        else:
            self._loop.call_soon_threadsafe(self._adopt, client, data)
