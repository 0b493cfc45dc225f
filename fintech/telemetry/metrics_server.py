"""`python -m fintech.telemetry.metrics_server`: the web processes' metrics, served by a process of its own.

It needs neither Django nor a database, so it answers while every web worker is busy or the database is down. It only
reads, so it may start before the web, whose folder it cannot write to in a container. It asks for no token: bind it to
loopback or to an internal network (METRICS_BIND, by default 127.0.0.1:9464).
"""

import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from fintech import env
from fintech.telemetry import metric_slots

CLIENT_SECONDS = 10  # as long as Prometheus's own scrape_timeout by default


class SharedCall:
    """Share one call among all callers that came before it began.

    On a busy machine, scrapes come faster than each could be rendered for itself. Their threads would only delay each
    other, until every scraper has left before its answer.
    """

    def __init__(self, call: Callable[[], bytes]) -> None:
        self._call, self._lock = call, threading.Lock()
        self._begun = 0  # calls
        self._result: bytes | None = None

    def __call__(self) -> bytes:
        begun = self._begun
        with self._lock:
            if self._begun == begun or self._result is None:
                self._begun += 1
                self._result = None  # also if the call fails
                self._result = self._call()
            return self._result


class Handler(BaseHTTPRequestHandler):
    """One request per connection, answered within `CLIENT_SECONDS` or cut off."""

    server: "MetricsServer"
    server_version, sys_version = "fintech", ""

    def handle(self) -> None:
        """Handle the request. A client that is too slow, or that disconnects, ends it without a log line."""
        deadline = threading.Timer(self.server.client_seconds, self._cut_off)
        deadline.daemon = True
        deadline.start()
        try:
            with suppress(OSError):
                super().handle()
        finally:
            deadline.cancel()

    def _cut_off(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.server.render())
        elif path == "/health":
            self._send(HTTPStatus.OK, "text/plain", b"ok\n")
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"metrics are at /metrics\n")

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"use GET or HEAD\n", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _send(
        self, status: HTTPStatus, content_type: str, content: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": content_type,
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing: a scrape every few seconds is no news, and a path may contain anything."""


class MetricsServer(socketserver.ThreadingTCPServer):
    """An HTTP server that serves `/metrics` and `/health`, each client in a thread."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], render: Callable[[], bytes], *, client_seconds: float = CLIENT_SECONDS
    ) -> None:
        self.render: Callable[[], bytes] = SharedCall(render)
        self.client_seconds = client_seconds
        host, port = address
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]  # read by the base class
        super().__init__((host.strip("[]"), port), Handler)


def main() -> None:
    """Serve the metrics until SIGTERM or SIGINT."""
    try:
        env.runtime_dir().mkdir(parents=True, exist_ok=True)
        server = MetricsServer(env.address("METRICS_BIND", "127.0.0.1:9464"), lambda: metric_slots.render("web"))
    except (env.SettingError, OSError) as error:
        sys.exit(f"error: the metrics exporter cannot start: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
