"""docs/nginx.conf: the real nginx in front of a server, with the documented limits."""

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import settings

from fintech.testing.certificates import write_certificate
from fintech.testing.processes import BASE_DIR, free_port, running, wait_until

TEXT = (BASE_DIR / "docs/nginx.conf").read_text()
NAME = "payments.example.com"
LIMIT = 50

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]


class Upstream(ThreadingHTTPServer):
    """The web's place: it keeps the headers that it gets, and answers /slow when `go_on` is set."""

    daemon_threads = True
    request_queue_size = 128  # with five, connections of the proxy that come together are tried again after a second

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.go_on = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(dict(self.headers))
        if self.path == "/slow":
            self.server.go_on.wait(20)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


class Proxy:
    def __init__(self, folder: Path, upstream: Upstream, text: str) -> None:
        self.folder, self.port, self.upstream = folder, free_port(), upstream
        expires = datetime.now(UTC) + timedelta(days=1)
        write_certificate(folder / f"{NAME}.pem", folder / f"{NAME}.key", name=NAME, expires=expires)
        text = text.replace("listen 443", f"listen 127.0.0.1:{self.port}").replace("/etc/ssl/", f"{folder}/")
        text = text.replace("server 127.0.0.1:5000", f"server 127.0.0.1:{upstream.server_port}")
        # What the package keeps in the system's folders.
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own = "".join(f"    {name}_temp_path {folder}/{name};\n" for name in paths)
        (folder / "nginx.conf").write_text(text.replace("http {\n", f"http {{\n{own}"))

    @property
    def command(self) -> list[str]:
        user = "user root root; " if os.geteuid() == 0 else ""
        only = f"{user}daemon off; pid {self.folder}/pid; error_log {self.folder}/errors;"
        return ["nginx", "-e", f"{self.folder}/errors", "-c", f"{self.folder}/nginx.conf", "-g", only]

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.folder / f"{NAME}.pem"))
        context.check_hostname = False  # it is asked by its address
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> int:
        connection = self.connect()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            return connection.getresponse().status
        finally:
            connection.close()

    def is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(tmp_path: Path, upstream: Upstream) -> Iterator[Proxy]:
    with started(Proxy(tmp_path, upstream, TEXT)) as found:
        yield found


@contextmanager
def started(proxy: Proxy) -> Iterator[Proxy]:
    with running(proxy.command, log=proxy.folder / "log", ready=proxy.is_up):
        yield proxy


def test_nginx_accepts_the_file_without_a_warning(tmp_path, upstream):
    result = subprocess.run(
        [*Proxy(tmp_path, upstream, TEXT).command, "-t"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr
    assert "[warn]" not in result.stderr


def test_the_client_cannot_say_that_it_came_by_tls_or_by_another_name(proxy):
    assert proxy.ask("/", X_Forwarded_Proto="http", Host=NAME) == 200

    [headers] = proxy.upstream.seen
    assert (headers["X-Forwarded-Proto"], headers["Host"]) == ("https", NAME)


def test_one_address_holds_a_bounded_number_of_connections_and_still_delivers_alerts(proxy):
    with ThreadPoolExecutor(LIMIT + 10) as pool:
        held = [pool.submit(proxy.ask, "/slow") for _ in range(LIMIT + 10)]
        try:
            wait_until(lambda: [future.done() for future in held].count(True) == 10, 20, "ten are refused")
            delivered = proxy.ask("/alert", "POST", b"{}")
        finally:
            proxy.upstream.go_on.set()
        answers = sorted(future.result() for future in held)

    assert delivered == 200
    assert answers == [200] * LIMIT + [429] * 10


def test_alerts_have_no_limit_of_size(proxy):
    body = b" " * 17 * 1024 * 1024

    assert proxy.ask("/v1/transactions", "POST", body) == 413
    assert proxy.ask("/alert", "POST", body) == 200


def test_metrics_are_not_for_the_outside(proxy):
    assert proxy.ask("/metrics") == 404
    assert proxy.upstream.seen == []


@pytest.mark.parametrize("sent", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_client_that_stalls_reaches_no_server_and_is_closed(tmp_path, upstream, sent):
    text = re.sub(r"(client_(?:header|body)_timeout) 10s", r"\1 1s", TEXT)
    with started(Proxy(tmp_path, upstream, text)) as proxy:
        connection = proxy.connect()
        connection.connect()
        connection.sock.sendall(sent)
        while connection.sock.recv(1000):  # a 408, or nothing, and then the end
            pass
        connection.close()

    assert upstream.seen == []


def test_its_patience_fits_the_webs():
    def seconds(name: str) -> list[int]:
        return [int(number) for number in re.findall(rf"\b{name} (\d+)s;", TEXT)]

    from fintech.server import gunicorn

    assert all(number < gunicorn.keepalive for number in seconds("keepalive_timeout"))
    longest = max(settings.GATEWAY_DEADLINE_SECONDS, settings.BATCH_DEADLINE_SECONDS)
    assert all(number > longest + 5 for number in seconds("proxy_read_timeout"))
    [megabytes] = re.findall(r"client_max_body_size (\d+)m;", TEXT)
    assert int(megabytes) * 1024**2 > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
