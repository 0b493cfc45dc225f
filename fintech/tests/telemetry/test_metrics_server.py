"""The exporter as a process: it needs neither Django's settings nor a database, and reports why it cannot start."""

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from fintech.telemetry.metrics_server import MetricsServer, SharedCall
from fintech.testing.processes import BASE_DIR, Program, answers, free_port, request, running, scrape, wait_until

pytestmark = pytest.mark.processes

COMMAND = [sys.executable, "-m", "fintech.telemetry.metrics_server"]
# Root may write to every folder, unless this right is taken.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
# Counts as a process of the web.
PAY = """
from fintech.telemetry import metric_slots
metric_slots.claim("web", shared=True)
from prometheus_client import Counter
Counter("payments", "Payments.").inc()
"""


@contextmanager
def serving(host: str, render: Callable[[], bytes], **options: float) -> Iterator[MetricsServer]:
    """Serve in this process while the block runs."""
    with MetricsServer((host, 0), render, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def exporter(tmp_path_factory, port) -> Iterator[Program]:
    directory = tmp_path_factory.mktemp("exporter")
    env = {
        "METRICS_BIND": f"127.0.0.1:{port}",
        "RUNTIME_DIR": str(directory),
        "DATABASE_URL": "",
        "DJANGO_SECRET_KEY": "",
    }
    with running(COMMAND, env, log=directory / "log", ready=lambda: answers(port, "/health")) as program:
        yield program


def test_it_loads_neither_a_driver_of_the_database_nor_an_event_loop():
    code = "import sys, fintech.telemetry.metrics_server; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=BASE_DIR, capture_output=True, text=True, check=True)

    assert {"psycopg", "greenlet", "asyncio", "django.db"}.isdisjoint(run.stdout.split())


@pytest.mark.usefixtures("exporter")
def test_it_answers_before_the_first_web_process(port):
    reply = request(port, "GET", "/metrics")

    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.body == b""


def test_it_starts_before_the_web_and_only_reads(tmp_path):
    """As the sidecar of a pod: its mount is read-only, and the web waits until it answers."""
    runtime, port = tmp_path / "runtime", free_port()
    runtime.mkdir(mode=0o555)
    env = {"METRICS_BIND": f"127.0.0.1:{port}", "RUNTIME_DIR": str(runtime)}
    with running([*UNPRIVILEGED, *COMMAND], env, log=tmp_path / "log", ready=lambda: answers(port, "/health")):
        assert scrape(port) == {}

        runtime.chmod(0o755)
        subprocess.run([sys.executable, "-c", PAY], cwd=BASE_DIR, env=os.environ | env, check=True)
        runtime.chmod(0o555)

        found = scrape(port)
        assert found.pop("payments_total") == 1
        (epoch,) = found
        assert epoch.startswith("metrics_epoch_info")


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/x", "/health/", "/%00", "/favicon.ico", "/a" * 1000])
def test_other_paths_are_not_found(port, path):
    assert request(port, "GET", path).status == 404


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("path", ["/metrics", "/health", "/other"])
def test_head_gets_the_headers_of_get_and_no_body(port, path):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = read_all(client).partition(b"\r\n\r\n")

    assert body == b""
    length = int(request(port, "GET", path).headers["Content-Length"])
    assert f"Content-Length: {length}".encode() in head


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_not_allowed(port, method):
    reply = request(port, method, "/metrics")

    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_it_listens_on_ipv6():
    with (
        serving("[::1]", lambda: b"up 1\n") as server,
        socket.create_connection(("::1", server.server_address[1])) as client,
    ):
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"\r\n\r\nup 1\n")


def test_a_client_that_sends_one_byte_after_the_other_is_cut_off():
    def send_byte(client: socket.socket) -> bool:
        """Return True once the server has closed the connection."""
        with suppress(OSError):
            client.sendall(b"G")
        return bool(select.select([client], [], [], 0)[0])

    with serving("127.0.0.1", lambda: b"", client_seconds=0.5) as server:
        before = threading.active_count()
        with socket.create_connection(server.server_address[:2]) as client:
            wait_until(lambda: send_byte(client), what="the client is cut off")
        wait_until(lambda: threading.active_count() <= before, what="the client's threads have ended")


def test_a_client_that_does_not_read_is_cut_off(capfd):
    with serving("127.0.0.1", lambda: b"x" * 50_000_000, client_seconds=0.5) as server:
        before = threading.active_count()
        with socket.create_connection(server.server_address[:2]) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            wait_until(lambda: threading.active_count() > before, what="the request is handled")
            wait_until(lambda: threading.active_count() <= before, what="the client's threads have ended")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("exporter")
def test_a_scrape_is_answered_while_another_client_is_silent(port):
    with socket.create_connection(("127.0.0.1", port)):
        assert request(port, "GET", "/metrics", timeout=2).status == 200


def test_it_writes_nothing_about_its_requests(exporter, port):
    request(port, "GET", "/jane@example.com?4111111111111111")

    assert exporter.output() == ""


def test_it_ends_on_sigterm(tmp_path):
    port = free_port()
    env = {"METRICS_BIND": f"127.0.0.1:{port}", "RUNTIME_DIR": str(tmp_path)}
    with running(COMMAND, env, log=tmp_path / "log", ready=lambda: answers(port, "/health")) as program:
        assert program.stop(timeout=5) == 0
    assert program.output() == ""


def start(**env: str) -> str:
    """Return the error of a failed start: one sentence, and exit code 1."""
    env = {"PATH": "/usr/bin:/bin", **env}  # as in production: nothing of Django's is set
    run = subprocess.run(COMMAND, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 1, run
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


def test_a_port_in_use_is_reported(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "Address already in use" in start(METRICS_BIND=bind, RUNTIME_DIR=str(tmp_path))


@pytest.mark.parametrize("bind", ["9464", "127.0.0.1:99999", "127.0.0.1:x", ":9464", "::1:9464"])
def test_a_wrong_address_is_reported(tmp_path, bind):
    assert "METRICS_BIND is wrong: use host:port or [IPv6]:port" in start(METRICS_BIND=bind, RUNTIME_DIR=str(tmp_path))


def test_an_unusable_directory_is_reported(tmp_path):
    (tmp_path / "file").write_text("")

    assert "File exists" in start(METRICS_BIND="127.0.0.1:0", RUNTIME_DIR=str(tmp_path / "file"))


def test_scrapes_that_come_together_share_a_rendering():
    """Each in its own thread would delay the others, until every scraper has left before its answer."""
    came, rendered, gate = [], [], threading.Event()

    def render() -> bytes:
        rendered.append(True)
        assert gate.wait(10)
        return b"x 1\n"

    with serving("127.0.0.1", render) as server:
        shared = server.render

        def counted() -> bytes:
            came.append(True)
            return shared()

        server.render = counted
        clients = [socket.create_connection(server.server_address) for _ in range(20)]
        for client in clients:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        wait_until(lambda: len(came) == 20, what="all scrapes have come")
        gate.set()
        replies = [read_all(client) for client in clients]
        for client in clients:
            client.close()

    assert all(reply.endswith(b"x 1\n") for reply in replies)
    assert len(rendered) <= 3


def test_a_scrape_never_gets_what_was_rendered_before_it_came():
    values = iter([b"1", b"2"])
    shared = SharedCall(lambda: next(values))

    assert [shared(), shared()] == [b"1", b"2"]


def test_a_failed_rendering_is_nobodys_answer():
    values = iter([b"", b"2"])

    def render() -> bytes:
        if value := next(values):
            return value
        raise OSError("no files")

    shared = SharedCall(render)
    with pytest.raises(OSError, match="no files"):
        shared()

    assert shared() == b"2"
