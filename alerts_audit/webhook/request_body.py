"""Read a request's body directly from the server.

Django's `request.body` has a limit for forms and answers 400 above it. Alertmanager treats a 400 as final, and 10,000
alerts are 6 MB.

Above our own limit the beginning is stored and the rest only hashed. A refusal would be worse: Alertmanager sends the
same body again with every flush, and none of it would ever be stored.
"""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from fintech.http.views import STALL_SECONDS

LIMIT = 16 * 1024 * 1024
STEP = 64 * 1024
# A sender that takes longer than this occupies a thread, like one that stalls.
DEADLINE_SECONDS = 30


class BodyIncomplete(Exception):
    """The body ended early, stalled, took too long, or broke the protocol."""


@dataclass(frozen=True)
class Body:
    """A body. `size` (bytes) and `sha256` cover everything that was sent; `kept` is all of it, or its first LIMIT
    bytes.
    """

    kept: bytes = field(repr=False)
    size: int
    sha256: bytes


def read_body(environ: dict[str, Any]) -> Body:
    """Read a body. Raise BodyIncomplete."""
    declared = declared_size(environ)
    deadline = time.monotonic() + DEADLINE_SECONDS
    kept, size, digest = bytearray(), 0, hashlib.sha256()
    with watch.over(environ.get("gunicorn.socket"), deadline):
        while declared is None or size < declared:
            step = STEP if declared is None else min(STEP, declared - size)
            part = read_part(environ["wsgi.input"], step)
            if not part and declared is None:
                break
            if not part or time.monotonic() > deadline:
                raise BodyIncomplete(f"{size} of {declared or 'unknown'} bytes")
            size += len(part)
            digest.update(part)
            if len(kept) < LIMIT:
                kept += part[: LIMIT - len(kept)]
    return Body(bytes(kept), size, digest.digest())


def declared_size(environ: dict[str, Any]) -> int | None:
    """Return Content-Length. None: the server marks the end itself (chunks); 0 if there is no body."""
    if length := environ.get("CONTENT_LENGTH"):
        return int(length)  # the server has checked it
    return None if environ.get("wsgi.input_terminated") else 0


def read_part(stream: Any, size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception as error:  # each server has its own errors for an interrupted stream
        raise BodyIncomplete(str(error)) from error


class Watch:
    """Closes a connection that is read too slowly, within a second of its deadline.

    A socket's own timeout restarts with every byte, and the server reads on until it has the requested bytes.
    """

    def __init__(self) -> None:
        self._deadlines: dict[Any, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: Any, deadline: float) -> Iterator[None]:
        """Watch a connection. `connection` may be None: other servers do their own watching."""
        if connection is None:
            yield
            return
        connection.settimeout(STALL_SECONDS)
        self._deadlines[connection] = deadline
        self._start()
        try:
            yield
        finally:
            del self._deadlines[connection]

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="slow bodies", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(1)
            for connection, deadline in self._deadlines.copy().items():
                if time.monotonic() > deadline:
                    with suppress(OSError):  # it has just been closed
                        connection.shutdown(socket.SHUT_RD)


watch = Watch()
