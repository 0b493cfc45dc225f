"""HTTP/1.1 connections of the web process: read whole requests, answer them, and limit every wait for a client.

The loop owns the sockets. gunicorn's own code parses, frames and answers requests; those with a usual head are read by
`fintech/server/request_heads.py`. gunicorn's code is written for blocking sockets; here it runs in a task
(`fintech/server/cooperation.py`), so a slow client costs little memory and no thread. An idle connection has no task.

A thread that makes an answer makes a part of it, and is free for others while the client takes that part
(`run_application`).

`deadline` is the only timer of a connection. The worker checks all connections once a second and calls `expire`.
"""

import asyncio
import io
import logging
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import IO, Any, cast

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader
from gunicorn.http.wsgi import Response, create

from fintech.http.headers import find_repeated
from fintech.http.problems import Problem
from fintech.server import cooperation
from fintech.server.request_heads import CONSTANT, UsualRequest, environ_of, read_usual
from fintech.server.responses import LeanResponse

logger = logging.getLogger("fintech.server")

HEAD_SECONDS = 10.0  # from a request's first byte to the end of its headers
STALL_SECONDS = 5.0  # without a byte of the body
BODY_SECONDS = 30.0  # for all of it
ANSWER_SECONDS = 10.0  # for an answer, and as much more as the slowest reader needs
SLOWEST_READER = 16 * 1024  # bytes a second that a client has to take at least
CLOSE_SECONDS = 2.0  # for a client to read our last answer before the connection is torn down

MAX_BODY = 256 * 1024 * 1024
# No body is so long. django-prometheus adds the declared length to a floating-point number: from about here it loses
# the small ones, and 310 digits are an error.
ABSURD_LENGTH = 10**15
# Of a longer body, the rest is received and not stored: only /alert reads it. All other views refuse it (4 MiB); forms
# must read a little more to find out.
MOST_STORED = 8 * 1024 * 1024
IN_MEMORY = 128 * 1024
READ_AHEAD = 256 * 1024
# A larger answer is made and sent in parts. Of each client that does not read, the process holds one part: so much, and
# a piece of what the application yields.
PART_BYTES = 256 * 1024
FOREVER = float("inf")
TOO_LONG = (413, "body_too_large", "No body of this Content-Length is accepted.")
NOT_STORED = ("body_not_stored", "The body could not be stored. Send the request again.")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, and no second to send what is left


class Stream(Unreader):
    """The data of a client, in the form that gunicorn's parser reads."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        super().__init__()
        self._receive = receive

    @property
    def is_empty(self) -> bool:
        return not self.buf.getbuffer().nbytes

    def chunk(self, size_hint: int | None = None) -> bytes:
        return self._receive()


class TrustedRequest(Request):
    """A request whose sender was looked up in the list of trusted proxies when it connected."""

    def __init__(self, *arguments: Any, trust: Any) -> None:
        self._trust = trust
        super().__init__(*arguments)

    def _peer_trusted_for_forwarded(self) -> Any:
        return self._trust or super()._peer_trusted_for_forwarded()


class BrokenBody(io.RawIOBase):
    """The received part of a body, then the error that ended it: for the view, whose answer is logged and counted."""

    def __init__(self, part: Any, error: Exception) -> None:
        self._part, self._error = part, error

    def read(self, size: int | None = -1) -> bytes:
        data = self._part.read(size)
        if size is None or size < 0 or len(data) < size:
            raise self._error
        return cast(bytes, data)


def declared_length(request: Request) -> int | None:
    """Return the length of the body; None if it comes in chunks."""
    return getattr(request.body.reader, "length", None)


def receive(body: Body, file: IO[bytes], most: int) -> Exception | None:
    """Read a whole body and write its first `most` bytes to `file`. Return the error that ended it, or its rest."""
    size = 0
    while size <= MAX_BODY:
        try:
            part = body.read(IN_MEMORY)
        except Exception as error:  # each way to break the protocol has its own
            return error
        if not part:
            break
        size += len(part)
        if size <= most:
            file.write(part)
    return NoMoreData() if size > most else None


class AnswerCut(Exception):
    """A fault in the middle of an answer: it cannot be completed, and another head must not follow the first."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self.request_id = dict(headers).get("X-Request-ID")


class Answer:
    """A replacement of the socket that gunicorn's `Response` writes to: collects data until it is flushed."""

    has_begun = False

    def __init__(self, connection: "Connection") -> None:
        self._connection, self._parts, self.size = connection, list[bytes](), 0

    def sendall(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)

    send = sendall

    def flush(self) -> None:
        """Send the collected data."""
        data, self._parts, self.size = b"".join(self._parts), [], 0
        if data:
            self.has_begun = True
            self._connection.write(data)

    def flush_and_wait(self) -> None:
        """Send the collected data, and wait in a task until the client has taken nearly all of it."""
        self.flush()
        self._connection.wait_until_taken()


class Connection(asyncio.Protocol):
    def __init__(self, worker: Any, server: Any) -> None:
        self._worker, self._server = worker, server
        self._received: list[bytes] = []
        self._size = 0
        self._reader: cooperation.Waiter | None = None
        self._writer: cooperation.Waiter | None = None
        self._ended = self._lost = self._stalled = self._paused = False
        self._busy = self._closing = False
        self._renew = 0.0  # each byte moves the deadline by this
        self._limit = FOREVER  # but not beyond this
        self._requests = 0
        self._trust: Any = None
        self._constant: dict[str, Any] = {}
        self._stream = Stream(self._receive)
        self.deadline = time.monotonic() + HEAD_SECONDS

    # --- Called by the loop --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client = transport.get_extra_info("peername")
        self._worker.connections.add(self)
        if self._client is None:  # the client has reset the connection, so it cannot be answered
            self._closing = True
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._received.append(data)
        self._size += len(data)
        if self._renew:
            self.deadline = min(time.monotonic() + self._renew, self._limit)
        if self._reader is not None:
            self._wake_reader()
        elif not self._busy:
            self._busy = True
            cooperation.spawn(self._serve)
        if self._size > READ_AHEAD:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake_reader()
        if not self._busy:
            self._transport.close()
        return True  # a client that sends no more may still read our answer

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._worker.disconnected(self)
        self._wake_reader()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._paused = True
        self._limit_reading()

    def resume_writing(self) -> None:
        self._paused = False
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.wake()

    # --- Called by the worker ------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        return not self._busy

    def expire(self) -> None:
        """End every wait for this client, because the deadline has passed."""
        if self._renew:
            self._stalled = True
            self._wake_reader()
        elif self._transport.get_write_buffer_size():
            self._cut()
        else:
            self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    # --- In a task -----------------------------------------------------------------------------------------

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.wake()

    def _receive(self) -> bytes:
        """Return the data since the last call, or wait for more; nothing if no more is coming."""
        while not self._received:
            if self._ended or self._lost or self._stalled:
                return b""
            self._reader = cooperation.Waiter()
            self._reader.wait()
        data = self._received[0] if len(self._received) == 1 else b"".join(self._received)
        self._received.clear()
        if self._size > READ_AHEAD and not self._lost:
            self._transport.resume_reading()
        self._size = 0
        return data

    def _serve(self) -> None:
        """Answer the requests that the client has sent."""
        try:
            while self._has_data():
                if not self._serve_one():
                    self._end()
                    return
            if self._ended:
                self._end()
                return
            self.deadline = time.monotonic() + self._worker.keepalive
        except Exception as error:
            self._fail(error)
        finally:
            self._busy = False

    def _has_data(self) -> bool:
        return not self._lost and bool(self._received or not self._stream.is_empty)

    def _serve_one(self) -> bool:
        """Answer a request. Return True if another one may follow."""
        self.deadline = time.monotonic() + HEAD_SECONDS
        self._requests += 1
        data = self._receive() if self._stream.is_empty else self._stream.read()
        request = read_usual(data, self._worker.settings.scheme_headers) or self._parse(data)
        if request is None:
            return False
        body = self._take_body(request, data) if isinstance(request, UsualRequest) else self._read_body(request)
        self.deadline = FOREVER
        answer = Answer(self)
        response, environ = self._prepare(request, answer)
        environ["wsgi.input"] = body
        environ["wsgi.multithread"] = True
        if self._stalled or self._ended or isinstance(body, BrokenBody) or not self._worker.may_keep_alive():
            response.force_close()
        try:
            self._worker.answer(environ, response, answer)
        except Exception as error:
            if answer.has_begun and not isinstance(error, ConnectionError):
                raise AnswerCut(response.headers) from error
            raise
        if self._paused:
            self.wait_until_taken()
        return not (self._lost or response.should_close())

    def _parse(self, data: bytes) -> TrustedRequest | None:
        """Let gunicorn read the request that begins with `data`. Return None if the client has left, or if what it
        sent is no request.
        """
        self._stream.unread(data)
        try:
            request = TrustedRequest(
                self._worker.settings, self._stream, self._client, self._requests, trust=self._trust
            )
        except (NoMoreData, StopIteration):
            return None
        self._trust = self._trust or request._peer_trusted_for_forwarded()
        if name := find_repeated(request.headers, request.path):  # those of a usual head are not
            raise Problem(400, "repeated_header", f"Send the header {name} once.", param=name)
        if (declared_length(request) or 0) >= ABSURD_LENGTH:
            raise Problem(*TOO_LONG)
        return request

    def _prepare(self, request: TrustedRequest | UsualRequest, answer: Answer) -> tuple[Response, dict[str, Any]]:
        settings = self._worker.settings
        if isinstance(request, UsualRequest) and self._constant:
            return LeanResponse(request, answer, settings), environ_of(request, self._constant)
        response, environ = create(request, answer, self._client, self._server, settings, response_class=LeanResponse)
        del environ["gunicorn.socket"]  # the body is complete: a view need not guard its reading
        self._constant = {name: environ[name] for name in CONSTANT if name in environ}
        return response, environ

    # --- The body ------------------------------------------------------------------------------------------

    def _take_body(self, request: UsualRequest, data: bytes) -> Any:
        """Return the body of the request that begins with `data`, at once if it has arrived."""
        begin, length = request.head_length, request.body_length
        end = begin + length
        if length <= IN_MEMORY and end <= len(data):
            if end < len(data):  # the next request
                self._stream.unread(data[end:])
            return io.BytesIO(data[begin:end])
        self._stream.unread(data[begin:])
        return self._await_body(request.path, Body(LengthReader(self._stream, length)), length)

    def _read_body(self, request: TrustedRequest) -> Any:
        if request._expected_100_continue:
            request._expected_100_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = declared_length(request)
        return self._await_body(request.path, request.body, length) if length != 0 else io.BytesIO()

    def _await_body(self, path: str, body: Body, length: int | None) -> Any:
        self._renew, self._limit = STALL_SECONDS, time.monotonic() + BODY_SECONDS
        self.deadline = time.monotonic() + STALL_SECONDS
        try:
            if length is not None and length <= IN_MEMORY:
                return io.BytesIO(body.read(length))
            return self._spool(body, MAX_BODY if path == "/alert" else MOST_STORED)
        finally:
            self._renew = 0.0

    def _spool(self, body: Body, most: int) -> Any:
        """Store a large body on disk until it is complete. If the disk does not take it, reading it raises Problem."""
        file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=self._worker.spool_directory)  # noqa: SIM115 - returned
        try:
            error = receive(body, file, most)
            file.seek(0)  # stores what is still in memory
        except OSError as full:
            logger.error("body_not_stored", extra={"error": full.strerror})
            receive(body, file, 0)  # a client that still sends may not see the answer
            with suppress(OSError):  # again, for what is still in memory
                file.close()
            return BrokenBody(io.BytesIO(), Problem(503, *NOT_STORED, headers={"Retry-After": "1"}))
        return file if error is None else BrokenBody(file, error)

    # --- The answer ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send data, from a task or a thread."""
        if cooperation.on_loop():
            # Metrics are written at the end of a turn: a client that has its answer finds itself counted.
            cooperation.end_turn()
            self._write(data)
        elif self._lost:
            raise ConnectionResetError("the client has left")
        else:
            cooperation.call(self._write, data)

    def _write(self, data: bytes) -> None:
        if not self._lost:
            self._transport.write(data)

    def wait_until_taken(self) -> None:
        """Wait in a task until the client has taken nearly all of its data."""
        if self._paused and not self._lost:
            self._writer = cooperation.Waiter()
            self._writer.wait()
            self.deadline = FOREVER
        if self._lost:
            raise ConnectionResetError("the client has left")

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ConnectionError):  # the client has left
            self._transport.abort()
            return
        if isinstance(error, AnswerCut):
            self._worker.log_cut(error)
            self._cut()
            return
        with suppress(OSError):
            self._transport.write(self._worker.refusal(error))
        self._end()

    def _cut(self) -> None:
        """Reset the connection in the middle of an answer. Without a length, a plain end would look complete."""
        with suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()

    def _limit_reading(self) -> None:
        """Set the deadline for the client to take what is left of our answer, or only to close the connection."""
        left = self._transport.get_write_buffer_size()
        self.deadline = time.monotonic() + (ANSWER_SECONDS + left / SLOWEST_READER if left else CLOSE_SECONDS)

    def _end(self) -> None:
        """Close the connection after the client could read the answer: unread input would reset the connection."""
        self._limit_reading()
        if self._lost or self._ended:
            self._transport.close()
            return
        self._closing = True
        self._received.clear()
        with suppress(OSError, RuntimeError):
            self._transport.resume_reading()
        with suppress(OSError, RuntimeError):
            self._transport.write_eof()


def run_application(
    application: Any, environ: dict[str, Any], response: Response, answer: Answer
) -> Generator[bool, None, None]:
    """Call the application, send its answer, then close it. Pause after each part, until `answer` is flushed."""
    parts: Iterable[bytes] = application(environ, response.start_response)
    try:
        for part in parts:
            response.write(part)
            if answer.size > PART_BYTES:
                yield True
        response.close()
        answer.flush()
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
