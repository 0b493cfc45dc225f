"""gunicorn's threaded worker: with patience, refusals that are problem+json, and no client quoted in its log."""

import logging
import select
from contextlib import suppress
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http import errors
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import TConn, ThreadWorker
from uuid_utils import uuid7

from fintech.http.headers import find_repeated
from fintech.http.problems import Problem
from fintech.telemetry.logging import request_id, trace_id

logger = logging.getLogger("fintech.server.worker_class")

# What cannot be read as HTTP, or is too long for it, reaches no view. The rest of its kind is a plain 400.
REFUSALS = {
    errors.LimitRequestLine: (414, "uri_too_long", "The request line is longer than 8190 bytes."),
    errors.LimitRequestHeaders: (
        431,
        "headers_too_large",
        "Headers are at most 8190 bytes long, and at most 100.",
    ),
    errors.ExpectationFailed: (417, "expectation_failed", "The only expectation that can be met is 100-continue."),
}
MALFORMED = (400, "malformed_request", "The request is not well-formed HTTP/1.1.")


def problem_of(error: Exception) -> Problem | None:
    """None for a fault of our own, such as a header that we must not send."""
    if isinstance(error, Problem):
        return error
    ours = isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName)
    if ours or not isinstance(error, errors.ParseException):
        return None
    return Problem(*REFUSALS.get(type(error), MALFORMED))


# A busy client sends its next request within a few milliseconds of the answer.
PATIENCE_MILLISECONDS = 20


class Logger(GunicornLogger):
    def access(self, *_: Any) -> None:
        """Nothing: with a `logconfig_dict` gunicorn prepares a line of its own that nobody would see."""


class Worker(ThreadWorker):
    def handle(self, conn: TConn) -> Any:
        """A thread stays with its connection for a moment, as long as no other connection waits for a thread.

        gunicorn gives a kept-alive connection back to the main thread after every answer, and takes a thread anew for
        the next request. Under load that took as much of the interpreter's time as the payment itself.
        """
        result = super().handle(conn)
        while result is True and self.alive and self._has_next_request(conn):
            result = super().handle(conn)
        return result

    def _has_next_request(self, conn: TConn) -> bool:
        # Private, but a thread pool says nowhere else whether work is waiting.
        if conn.is_http2 or self.tpool._work_queue.qsize():
            return False
        if conn.parser.unreader.buf.getvalue():
            return True  # the client did not wait for the answer
        waiting = select.poll()
        waiting.register(conn.sock, select.POLLIN)
        return bool(waiting.poll(PATIENCE_MILLISECONDS))

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Refuse repeated headers here: WSGI sees one, joined with commas."""
        if name := find_repeated(req.headers, req.path):
            raise Problem(400, "repeated_header", f"Send the header {name} once.", param=name)
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        request_id.set(str(uuid7()))
        trace_id.set(None)
        problem = problem_of(exc)
        if problem is None:
            logger.error("unexpected_error", exc_info=exc)
            problem = Problem(500, "internal_error", "An internal error occurred. It was logged.")
        else:
            error = type(exc).__name__
            logger.info("refused", extra={"status_code": problem.status, "code": problem.code, "error": error})
        response = problem.response()
        headers = {**response.headers, "Content-Length": len(response.content), "Connection": "close"}
        head = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        head += [f"X-Request-ID: {request_id.get()}", "", ""]
        with suppress(OSError):  # it is the client's to wait for the answer
            write_nonblock(client, "\r\n".join(head).encode() + response.content)
