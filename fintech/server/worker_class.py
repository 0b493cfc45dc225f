"""gunicorn's worker for this project: one event loop for all sockets, tasks for payments, threads for the rest."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from contextvars import copy_context
from typing import Any

from django.db import connections
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http import errors
from gunicorn.workers.base import Worker as BaseWorker
from gunicorn.workers.gasgi import ASGIWorker
from uuid_utils import uuid7

from fintech import env
from fintech.http.problems import Problem
from fintech.server import cooperation
from fintech.server.connections import Answer, AnswerCut, Connection, run_application
from fintech.server.lanes import Lane, lane_of
from fintech.server.responses import Snapshot
from fintech.server.spread import Share
from fintech.server.watchdog import Watchdog
from fintech.telemetry import metric_slots
from fintech.telemetry.logging import request_id, trace_id

logger = logging.getLogger("fintech.server")

# Input that is not valid HTTP, or is too long, reaches no view. Other errors of this kind are a plain 400.
REFUSALS = {
    errors.LimitRequestLine: (414, "uri_too_long", "The request line is longer than 8190 bytes."),
    errors.LimitRequestHeaders: (
        431,
        "headers_too_large",
        "A header line can have 8190 bytes, and a request 100 headers.",
    ),
    errors.ExpectationFailed: (417, "expectation_failed", "Only the expectation 100-continue is supported."),
}
MALFORMED = (400, "malformed_request", "The request is not well-formed HTTP/1.1.")

SWEEP_SECONDS = 1.0
TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 0x201)  # Python names it on Linux only; this is macOS's
# Of an answer that its client does not read, the system buffers so much. Without a limit it is a megabyte or more.
UNSENT_BYTES = 128 * 1024
ACCEPT_PAUSE = 0.001  # in which another process may accept
LINGER_SECONDS = 2.0
OTHER_FILES = 256  # database, gateway, logs and bodies
# For the queries of payments, which must not wait for pages. They use the connections of Django's pool (8, see
# DATABASE_POOL_SIZE): no more threads can query at a time. The others ask the server of THROTTLE_URL, or connect the
# writer.
QUERY_THREADS = 16
COLLECT_AFTER = (50_000, 20, 50)


def _take(steps: Generator[bool, None, None]) -> bool:
    """Take the next step. Return True if another one follows: until then this thread keeps no connection."""
    follows = next(steps, False)
    if follows:
        connections.close_all()
    return follows


def problem_of(error: Exception) -> Problem | None:
    """Convert a parse error; None for a fault of our own, such as a header that we must not send."""
    if isinstance(error, Problem):
        return error
    ours = isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName)
    if ours or not isinstance(error, errors.ParseException):
        return None
    return Problem(*REFUSALS.get(type(error), MALFORMED))


class Logger(GunicornLogger):
    def access(self, *_: Any) -> None:
        """Log nothing: with a `logconfig_dict` gunicorn would format an unused line."""


class Worker(ASGIWorker):
    """A worker with the loop and the signals of gunicorn's ASGI worker, which serves WSGI."""

    alive: bool

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        pass

    def load_wsgi(self) -> None:
        BaseWorker.load_wsgi(self)

    def init_process(self) -> None:
        self.connections: set[Connection] = set()
        self.keepalive = self.cfg.keepalive
        self.settings = Snapshot(self.cfg)
        self.spool_directory = env.runtime_dir() / "bodies"
        self.spool_directory.mkdir(parents=True, exist_ok=True)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        self._most_connections = min(self.cfg.worker_connections, files - OTHER_FILES)
        super().init_process()

    def init_signals(self) -> None:
        """Let a stop end the process at once while it loads Django: a signal that comes before the loop runs is lost,
        and the stop would take all of `graceful_timeout`.
        """
        super().init_signals()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)

    def limit_payments(self, capacity: int) -> None:
        self._capacity = cooperation.Slots(capacity)

    # --- Requests ------------------------------------------------------------------------------------------

    def may_keep_alive(self) -> bool:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        return self.alive

    def answer(self, environ: dict[str, Any], response: Any, answer: Answer) -> None:
        lane = lane_of(environ)
        steps = run_application(self.wsgi, environ, response, answer)
        if lane is Lane.LOOP:
            with self._capacity if environ["REQUEST_METHOD"] == "POST" else nullcontext():
                for _ in steps:
                    answer.flush_and_wait()
        else:
            self._answer_in_threads(lane, steps, answer)

    def _answer_in_threads(self, lane: Lane, steps: Generator[bool, None, None], answer: Answer) -> None:
        """Take each step in a thread. Between two steps the client reads, and this task waits for it without one."""
        context = copy_context()  # of all steps: the first sets the request's id

        def run(function: Callable[..., bool | None], *arguments: Any) -> bool | None:
            with cooperation.pages if lane is Lane.PAGES else nullcontext():
                return cooperation.offload(context.run, function, *arguments, threads=self._lanes[lane])

        try:
            while run(_take, steps):
                answer.flush_and_wait()
        except Exception:  # for example, the client has left
            run(steps.close)
            raise

    def log_cut(self, cut: AnswerCut) -> None:
        request_id.set(cut.request_id)
        trace_id.set(None)
        logger.error("answer_cut", exc_info=cut.__cause__)

    def refusal(self, exc: Exception) -> bytes:
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
        return "\r\n".join(head).encode() + response.content

    def disconnected(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._share.change(-1)

    # --- The loop ------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._lanes = {lane: ThreadPoolExecutor(lane.threads(self.cfg.threads), lane.value) for lane in Lane}
        cooperation.start(self.loop, ThreadPoolExecutor(QUERY_THREADS, "query"))
        # Objects that live as long as the process are not collected: checking them again took a seventh of a payment's
        # time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        self._stopping = asyncio.Event()
        super().init_signals()
        self._pause: asyncio.TimerHandle | None = None
        self._share = Share(metric_slots.slot().number, os.getpid(), others=2 * self.cfg.workers)
        for listener in self.sockets:
            listener.sock.setblocking(False)
            if listener.sock.family != socket.AF_UNIX:  # connections inherit it
                listener.sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        watchdog = Watchdog(self.loop, [listener.sock for listener in self.sockets], self._adopt)
        watchdog.start()
        while self.alive and self.ppid == os.getppid():
            self._listen(len(self.connections) < self._most_connections)
            self.notify()
            self._sweep(time.monotonic())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), SWEEP_SECONDS)
        watchdog.stop()
        await self._finish()

    def handle_exit_signal(self) -> None:
        super().handle_exit_signal()
        self._stopping.set()

    def handle_quit_signal(self) -> None:
        super().handle_quit_signal()
        self._stopping.set()

    def _listen(self, wanted: bool) -> None:
        self._share.publish(accepts=wanted)
        self._watch(wanted)

    def _watch(self, wanted: bool) -> None:
        if self._pause is not None:
            self._pause.cancel()
        for listener in self.sockets:
            if wanted:
                self.loop.add_reader(listener.sock.fileno(), self._accept, listener.sock)
            else:
                self.loop.remove_reader(listener.sock.fileno())

    def _accept(self, listener: socket.socket) -> None:
        """Accept connections one at a time, so that a busy process takes fewer, and the others more."""
        if self._share.should_wait(time.monotonic()):
            self._watch(False)
            self._pause = self.loop.call_later(ACCEPT_PAUSE, self._watch, True)
            return
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError as error:  # too many open files: retry with the next check
            logger.warning("connection_not_accepted", extra={"error": error.strerror})
            self._listen(False)
            return
        self._adopt(client)
        if len(self.connections) >= self._most_connections:
            self._listen(False)

    def _adopt(self, client: socket.socket, data: bytes = b"") -> None:
        """Serve a connection, of which `data` has been read."""
        self._share.change(+1)
        client.setblocking(False)
        self.loop.create_task(self._connect(client, data))

    async def _connect(self, client: socket.socket, data: bytes) -> None:
        connection = Connection(self, client.getsockname())
        try:
            await self.loop.connect_accepted_socket(lambda: connection, client)
        except OSError:
            client.close()
            self._share.change(-1)
        else:
            if data:
                connection.data_received(data)

    def _sweep(self, now: float) -> None:
        for connection in [one for one in self.connections if one.deadline < now]:
            connection.expire()

    async def _finish(self) -> None:
        """Accept no more connections, and answer the running requests."""
        self._listen(False)
        for listener in self.sockets:
            listener.close()
        begin = time.monotonic()
        while self.connections and time.monotonic() < begin + self.cfg.graceful_timeout and not self._quick_shutdown:
            self.notify()
            self._sweep(time.monotonic())
            if time.monotonic() > begin + LINGER_SECONDS:
                for connection in [one for one in self.connections if one.is_idle]:
                    connection.close()
            await asyncio.sleep(0.05)
        await cooperation.end()
