"""Connections to the real web process: slow, stalled, idle and many of them."""

import http.client
import io
import json
import os
import re
import resource
import secrets
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from django.conf import settings

from fintech.server.connections import ANSWER_SECONDS, CLOSE_SECONDS, HEAD_SECONDS, IN_MEMORY
from fintech.server.watchdog import BLOCKED_SECONDS
from fintech.testing.processes import IN_FULL, Platform, Program, is_over, wait_until
from loadtests.tests.simulator import running_gateway
from payments.api_keys import CACHE_SECONDS, create_api_key
from payments.models import Merchant
from payments.tests.conftest import ALL_SCOPES, Client

pytestmark = pytest.mark.processes

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
MANY = 2_000 if IN_FULL else 300
LARGE_FILE = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform"), workers=1, worker=False) as running:
        yield running


@pytest.fixture
def connections() -> Iterator[ExitStack]:
    """Closes what is entered into it. This process may open enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        yield stack
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(platform: Platform, connections: ExitStack) -> socket.socket:
    return connections.enter_context(socket.create_connection(("127.0.0.1", platform.port), timeout=20))


def connect_without_reading(platform: Platform, connections: ExitStack) -> socket.socket:
    """Return a connection that takes little of an answer before its client reads."""
    connection = connections.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", platform.port))
    return connection


def serves_others(platform: Platform) -> bool:
    """Return True if it answers a short request at once."""
    start = time.monotonic()
    return platform.request("GET", "/health").status == 200 and not is_over(start, 2)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def accepts(platform: Platform) -> bool:
    try:
        socket.create_connection(("127.0.0.1", platform.port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(connection: socket.socket, number: int) -> list[bytes]:
    """The bodies of the next answers on this connection."""
    bodies = []
    with connection.makefile("rb") as file:
        for _ in range(number):
            assert file.readline().startswith(b"HTTP/1.1 200 ")
            headers = dict(line.split(b": ", 1) for line in iter(file.readline, b"\r\n"))
            bodies.append(file.read(int(headers[b"Content-Length"])))
    return bodies


@pytest.mark.slow
def test_clients_that_never_finish_their_headers_hinder_no_other_and_are_closed(platform, connections):
    stalled = [connect(platform, connections) for _ in range(MANY)]
    for connection in stalled:
        connection.sendall(b"POST /alert HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")

    assert serves_others(platform)
    assert platform.request("GET", "/ready").status == 200
    wait_until(lambda: all(map(is_closed, stalled)), timeout=HEAD_SECONDS + 10, what="all are closed")


def test_a_client_that_drips_its_headers_is_closed_at_the_deadline(platform, connections):
    connection, start = connect(platform, connections), time.monotonic()
    while not is_over(start, HEAD_SECONDS + 10) and not is_closed(connection):
        with suppress(OSError):
            connection.sendall(b"G")
        time.sleep(0.2)

    assert not is_over(start, HEAD_SECONDS + 5)


def tcp_memory() -> int:
    """Return the bytes in all of the system's TCP buffers."""
    found = re.search(r"^TCP: .* mem (\d+)$", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    return int(found[1]) * resource.getpagesize()


@pytest.mark.slow
def test_clients_that_never_read_their_answers_hinder_no_other_and_are_closed(platform, connections):
    """Each one held 3.8 MiB of the system's memory."""
    stalled, memory = [], tcp_memory()
    for _ in range(MANY):
        connection = connect_without_reading(platform, connections)
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.send(GET % b"/v1/schema" * 300)
        stalled.append(connection)

    wait_until(lambda: serves_others(platform), timeout=60, what="others are served")
    assert tcp_memory() - memory < MANY * 2**20
    descriptors = len(os.listdir(f"/proc/{platform.worker_pids()[0]}/fd"))
    wait_until(
        lambda: len(os.listdir(f"/proc/{platform.worker_pids()[0]}/fd")) < descriptors / 4,
        timeout=ANSWER_SECONDS + 60,
        what="the server has closed them",
    )


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Client]:
    """A merchant at a web process with two threads for pages."""
    merchant = Merchant.objects.create(name=f"Merchant {secrets.token_hex(12)}", country="DE")
    _, secret = create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)
    with (
        running_gateway(tmp_path) as gateway,
        Platform(tmp_path, gateway=gateway, workers=1, worker=False, env={"WEB_THREADS": "2"}) as platform,
    ):
        yield Client(platform, merchant, secret)


def test_clients_that_do_not_read_a_large_file_delay_no_payment(narrow, connections):
    """Each held a thread, and payments read their keys in the same threads."""
    assert narrow.pay().status == 201
    stalled = [connect_without_reading(narrow.platform, connections) for _ in range(8)]
    for connection in stalled:
        connection.sendall(GET % LARGE_FILE)
    assert stalled[0].recv(12) == b"HTTP/1.1 200"
    time.sleep(CACHE_SECONDS + 0.5)  # now the key has to be read again

    start = time.monotonic()
    assert narrow.pay().status == 201
    assert narrow.get("/v1/transactions").status == 200
    assert not is_over(start, 2)


@pytest.mark.parametrize("wanted", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_idle_connections_hinder_no_other(platform, connections, wanted):
    number = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000)
    idle = []
    for _ in range(number):
        idle.append(connect(platform, connections))
        idle[-1].sendall(GET % b"/health")
    assert all(connection.recv(15) == b"HTTP/1.1 200 OK" for connection in idle)

    assert serves_others(platform)
    idle[0].recv(4096)
    idle[0].sendall(GET % b"/health")
    assert answers(idle[0], 1) == [b'{"status": "ok"}']


def test_pipelined_requests_are_answered_in_order(platform, connections):
    connection = connect(platform, connections)
    connection.sendall(GET % b"/health" + GET % b"/ready" + GET % b"/health")

    first, second, third = answers(connection, 3)
    assert first == third == b'{"status": "ok"}'
    assert b"ready" in second


def test_a_request_that_arrives_byte_by_byte_is_read(platform, connections):
    connection = connect(platform, connections)
    for byte in GET % b"/health":
        connection.sendall(bytes([byte]))

    assert answers(connection, 1) == [b'{"status": "ok"}']


@pytest.mark.parametrize("size", [0, 4, IN_MEMORY, IN_MEMORY + 1])
def test_a_request_may_follow_a_body_at_once(platform, connections, size):
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    connection = connect(platform, connections)
    connection.sendall(request * 3)

    assert answers(connection, 3) == [b'{"status": "ok"}'] * 3


@pytest.fixture
def full(platform: Platform) -> Iterator[Platform]:
    """A platform whose disk takes no bodies."""
    folder = platform.directory / "runtime" / "bodies"
    folder.rmdir()
    yield platform
    folder.mkdir()


def test_a_body_that_cannot_be_stored_is_our_fault(full):
    merchant = Merchant.objects.create(name=f"Merchant {secrets.token_hex(12)}", country="DE")
    _, secret = create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)
    reply = full.request("POST", "/v1/transactions/batch", bytes(IN_MEMORY + 1), api_key=secret)

    assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "body_not_stored", "1")
    wait_until(lambda: '"event":"body_not_stored"' in full.web.output(), what="it is logged")
    counted = 'django_http_responses_total_by_status_view_method_total{method="POST",status="503",view="batch"}'
    wait_until(lambda: full.scrape().get(counted) == 1, what="it is an error of the view")


def test_a_form_that_cannot_be_stored_is_our_fault(full):
    form = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={'a' * 32}"}
    reply = full.request("POST", "/admin/login/", bytes(IN_MEMORY + 1), headers=form)

    assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "body_not_stored", "1")


def test_an_alert_that_cannot_be_stored_on_disk_is_counted_by_its_source(full):
    authorization = {"Authorization": f"Bearer {settings.ALERT_TOKEN}"}
    reply = full.request("POST", "/alert", bytes(IN_MEMORY + 1), headers=authorization)

    assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "alert_unavailable", "1")
    counted = 'alert_deliveries_total{outcome="unavailable",source="alertmanager"}'
    wait_until(lambda: full.scrape()[counted] == 1, what="it is a delivery that was not stored")


def test_a_body_may_arrive_in_parts(platform, connections):
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
    connection = connect(platform, connections)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in (head, b"bo", b"dy" + head + b"b", b"od", b"y" + GET % b"/health"):
        connection.sendall(part)
        time.sleep(0.05)

    assert answers(connection, 3) == [b'{"status": "ok"}'] * 3


def test_a_client_that_resets_before_its_connection_is_accepted_is_no_error(platform):
    (process,), before = platform.worker_pids(), len(platform.web.output())
    os.kill(process, signal.SIGSTOP)
    try:
        connection = socket.create_connection(("127.0.0.1", platform.port), timeout=20)
        connection.sendall(GET % b"/ready")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    finally:
        os.kill(process, signal.SIGCONT)

    assert serves_others(platform)
    assert "unexpected_error" not in platform.web.output()[before:]


def test_an_answer_that_is_read_byte_by_byte_hinders_no_other(platform, connections):
    connection = connect(platform, connections)
    connection.sendall(GET % b"/v1/schema")
    assert connection.recv(1) == b"H"

    assert serves_others(platform)
    assert connection.recv(11) == b"TTP/1.1 200"


def test_a_graceful_stop_answers_running_requests_and_closes_idle_connections(tmp_path, connections):
    with Platform(tmp_path, workers=1, worker=False) as platform:
        idle = connect(platform, connections)
        idle.sendall(GET % b"/health")
        assert answers(idle, 1) == [b'{"status": "ok"}']
        half = connect(platform, connections)
        half.sendall(GET % b"/health")
        assert answers(half, 1) == [b'{"status": "ok"}']  # it is accepted
        half.sendall(b"GET /health HTTP/1.1\r\n")
        time.sleep(1)  # for the web to read this
        os.kill(platform.web.pid, signal.SIGTERM)
        wait_until(lambda: not accepts(platform), what="it accepts no more")
        half.sendall(b"Host: localhost\r\n\r\n")
        response = http.client.HTTPResponse(half)
        response.begin()

        assert (response.status, response.headers["Connection"]) == (200, "close")
        wait_until(lambda: not platform.web.alive, timeout=15, what="the web has ended")
        assert is_closed(idle)


# --- Faults of the application ------------------------------------------------------------------------------


def test_an_answer_that_fails_in_the_middle_is_cut(blocking, connections):
    """An HTTP/1.0 client finds the end of such an answer only by the end of the connection."""
    connection, received = connect(blocking, connections), io.BytesIO()
    connection.sendall(b"GET /broken HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        received.writelines(iter(lambda: connection.recv(65536), b""))

    assert b"HTTP/1.1 500" not in received.getvalue()
    (line,) = [json.loads(line) for line in blocking.web.output().splitlines() if "answer_cut" in line]
    assert line["request_id"] == "of-the-answer"
    assert "the rest is missing" in line["exception"]


def test_an_answer_that_fails_before_it_is_sent_is_an_error(blocking):
    assert blocking.request("GET", "/broken?early").status == 500


def read_to_end(connection: socket.socket) -> int | None:
    """Return the size of an answer's body; None if the connection is reset."""
    try:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except ConnectionResetError:
        return None
    return len(answer.partition(b"\r\n\r\n")[2])


# The system takes some of these answers as a whole. Of others it leaves only the last part to the server, for which a
# task need not wait.
SIZES = range(64 * 1024, 256 * 1024, 16 * 1024)
STREAM = b"GET /stream?%d HTTP/1.0\r\n\r\n"


def test_a_client_that_pauses_before_the_end_of_an_answer_misses_none_of_it(blocking, connections):
    """An HTTP/1.0 client finds the end of such an answer only by the end of the connection."""
    paused = {size: connect_without_reading(blocking, connections) for size in SIZES}
    for size, connection in paused.items():
        connection.sendall(STREAM % size)
    time.sleep(CLOSE_SECONDS + 2)

    received = {size: read_to_end(connection) for size, connection in paused.items()}
    assert {size: found for size, found in received.items() if found not in (size, None)} == {}


def test_a_client_that_sends_no_more_and_does_not_read_is_closed(blocking, connections):
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{blocking.worker_pids()[0]}/fd"))

    assert blocking.request("GET", "/stream?1").status == 200
    before = descriptors()
    for size in SIZES:
        connection = connect_without_reading(blocking, connections)
        connection.sendall(STREAM % size)
        connection.shutdown(socket.SHUT_WR)

    assert serves_others(blocking)
    wait_until(lambda: descriptors() > before, what="they are connected")
    wait_until(lambda: descriptors() <= before, timeout=ANSWER_SECONDS + 30, what="they are closed")


# --- A blocked loop ----------------------------------------------------------------------------------------


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path, workers=1, worker=False)
    command = [sys.executable, "-m", "gunicorn", "-c", "fintech/server/gunicorn.py"]
    command.append("fintech.tests.server.blocking_application")
    platform.web = Program(command, log=tmp_path / "web.log", env=platform.env)
    with platform:
        yield platform


def test_a_blocked_loop_is_measured_logged_and_does_not_stop_health(blocking, connections):
    connection = connect(blocking, connections)
    connection.sendall(b"POST /transaction HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n6")
    time.sleep(BLOCKED_SECONDS + 1)

    assert serves_others(blocking)
    assert blocking.scrape()["web_loop_lag_seconds"] >= BLOCKED_SECONDS
    log = (blocking.directory / "web.log").read_text()
    assert '"event":"loop_blocked"' in log
    assert "blocking_application.py" in log
    assert '"event":"loop_unblocked"' not in log


def answered(platform: Platform) -> float:
    counted = 'view="fintech.http.health.health"}'
    samples = platform.scrape().items()
    return sum(value for name, value in samples if name.startswith("django_http_responses") and name.endswith(counted))


def test_a_client_that_has_its_answer_finds_itself_in_the_metrics(blocking):
    before = answered(blocking)

    assert blocking.request("GET", "/health?1").status == 200

    assert answered(blocking) == before + 1


def test_a_request_that_came_while_the_loop_was_blocked_is_answered_afterwards(blocking, connections):
    connection = connect(blocking, connections)
    connection.sendall(b"POST /transaction HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n3")
    time.sleep(BLOCKED_SECONDS + 0.5)

    assert blocking.request("GET", "/ready").status == 200
