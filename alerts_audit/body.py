"""Reading a request's body from the server itself.

Django's `request.body` has a limit meant for forms, and answers 400 above it; Alertmanager takes a 400 for
final, and 10,000 alerts are 6 MB.
"""

import time
from typing import Any

from fintech.rest import STALL_SECONDS

LIMIT = 16 * 1024 * 1024
STEP = 64 * 1024
# A sender that drips for longer than this holds a thread of ours, as one that stalls does.
DEADLINE_SECONDS = 30


class BodyTooLarge(Exception):
    """More than LIMIT. `size` is what was declared, or what had come when we stopped reading."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class BodyIncomplete(Exception):
    """It ended early, stalled, or broke the protocol."""


def read_body(environ: dict[str, Any]) -> bytes:
    declared = declared_size(environ)
    if declared is not None and declared > LIMIT:
        raise BodyTooLarge(declared)
    if connection := environ.get("gunicorn.socket"):
        connection.settimeout(STALL_SECONDS)
    deadline = time.monotonic() + DEADLINE_SECONDS
    body = bytearray()
    while declared is None or len(body) < declared:
        step = STEP if declared is None else min(STEP, declared - len(body))
        part = read_part(environ["wsgi.input"], step)
        body += part
        if len(body) > LIMIT:
            raise BodyTooLarge(len(body))
        if not part and declared is None:
            break
        if not part or time.monotonic() > deadline:
            raise BodyIncomplete(f"{len(body)} of {declared or 'unknown'} bytes")
    return bytes(body)


def declared_size(environ: dict[str, Any]) -> int | None:
    """Content-Length. None: the server marks the end itself (chunks); 0 if there is no body."""
    if length := environ.get("CONTENT_LENGTH"):
        return int(length)  # the server has checked it
    return None if environ.get("wsgi.input_terminated") else 0


def read_part(stream: Any, size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception as error:  # each server has its own errors for a broken stream
        raise BodyIncomplete(str(error)) from error
