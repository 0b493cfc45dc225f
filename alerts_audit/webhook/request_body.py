"""Read a request's body directly from the server.

Django's `request.body` has a limit for forms and answers 400 above it. Alertmanager treats a 400 as final, and 10,000
alerts are 6 MB.

Above our own limit the beginning is stored and the rest only hashed. A refusal would be worse: Alertmanager sends the
same body again with every flush, and none of it would ever be stored.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from fintech.http.problems import Problem

LIMIT = 16 * 1024 * 1024
STEP = 64 * 1024


class BodyIncomplete(Exception):
    """The body ended early, stalled, took too long (`fintech/server/connections.py`), or broke the protocol."""


@dataclass(frozen=True)
class Body:
    """A body. `size` (bytes) and `sha256` are of all that was sent; `kept` is at most its first LIMIT bytes."""

    kept: bytes = field(repr=False)
    size: int
    sha256: bytes


def read_body(environ: dict[str, Any]) -> Body:
    """Read a body. Raise BodyIncomplete, or Problem if the server could not store it."""
    declared = declared_size(environ)
    kept, size, digest = bytearray(), 0, hashlib.sha256()
    while declared is None or size < declared:
        step = STEP if declared is None else min(STEP, declared - size)
        part = read_part(environ["wsgi.input"], step)
        if not part and declared is None:
            break
        if not part:
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
    except Problem:  # our fault, not the sender's
        raise
    except Exception as error:  # each server has its own errors for an interrupted stream
        raise BodyIncomplete(str(error)) from error
