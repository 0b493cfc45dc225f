"""The process: how it starts, what it refuses to start with, how it ends, and that SIGKILL loses nothing."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain
from uuid import uuid4

import pytest

from fintech.testing.processes import free_port, is_over
from loadtests.tests.simulator import ROOT, Simulator
from loadtests.tests.test_gateway_outcomes import DROPPED
from payments.gateway.transport import CONNECT_SECONDS

pytestmark = pytest.mark.processes

TOKENS = {"GATEWAY_TOKEN": "one-token", "GATEWAY_CONTROL_TOKEN": "another-token"}


def start(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """A start that is expected to fail."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "loadtests.gateway", *arguments],
        cwd=ROOT,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("missing", TOKENS)
def test_it_does_not_start_without_both_tokens(tmp_path, missing):
    tokens = {name: value for name, value in TOKENS.items() if name != missing}

    result = start("--port", "0", "--data", str(tmp_path / "data"), **tokens)

    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {missing} is not set")
    assert result.stderr.count("\n") == 1


def test_a_token_may_come_from_a_file_and_one_that_cannot_be_read_is_named(tmp_path):
    env = {"GATEWAY_TOKEN": "t", "GATEWAY_CONTROL_TOKEN_FILE": str(tmp_path / "absent")}

    result = start("--port", "0", "--data", str(tmp_path / "data"), **env)

    assert result.returncode == 1
    assert result.stderr.startswith("error: GATEWAY_CONTROL_TOKEN_FILE=")


def test_it_does_not_start_on_a_busy_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])

        result = start("--port", port, "--data", str(tmp_path / "data"), **TOKENS)

    assert result.returncode == 1
    assert result.stderr.startswith(f"error: The gateway cannot listen on 127.0.0.1:{port}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_it_does_not_start_on_a_port_that_does_not_exist(tmp_path, port):
    result = start("--port", port, "--data", str(tmp_path / "data"), **TOKENS)

    assert result.returncode == 1
    assert "cannot listen" in result.stderr
    assert result.stderr.count("\n") == 1


def test_it_does_not_start_with_data_that_it_cannot_write(tmp_path):
    result = start("--port", "0", "--data", str(tmp_path), **TOKENS)

    assert result.returncode == 1
    assert result.stderr.startswith(f"error: The data file {tmp_path} cannot be used: ")


def test_two_processes_cannot_share_the_data(own_gateway):
    result = start("--port", "0", "--data", str(own_gateway.data), **TOKENS)

    assert result.returncode == 1
    assert "database is locked" in result.stderr


def test_every_line_of_its_log_is_json_with_a_level(tmp_path):
    """OpenTelemetry's complaints as well: nothing listens where the traces are to go."""
    closed = f"http://127.0.0.1:{free_port()}"
    gateway = Simulator(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=closed, TRACE_SAMPLE_RATIO="1")
    gateway.start()
    gateway.profile(decline_ratio=0.5)
    gateway.post_charge("a", 100)
    gateway.process.terminate()
    gateway.process.wait(timeout=20)
    gateway.stop()

    lines = [json.loads(line) for line in gateway.lines]
    levels = {(line["level"], line["logger"].partition(".")[0], line["event"].partition(" ")[0]) for line in lines}
    assert {("INFO", "gateway", "profile_changed"), ("ERROR", "opentelemetry", "Failed")} <= levels
    assert all("time" in line for line in lines)


def test_hundreds_can_connect_while_it_is_busy(own_gateway):
    own_gateway.process.send_signal(signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            for _ in range(500):  # a connection that finds no room raises TimeoutError
                stack.enter_context(socket.create_connection(("127.0.0.1", own_gateway.port), timeout=CONNECT_SECONDS))
    finally:
        own_gateway.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_and_at_once_although_it_holds_requests(own_gateway, number):
    held = [own_gateway.hold_charge(str(uuid4()), amount) for amount in (1921, 1923, 1925)]
    began = time.monotonic()

    own_gateway.process.send_signal(number)

    assert own_gateway.process.wait(timeout=30) == 0
    assert not is_over(began, 2)
    for connection in held:
        with pytest.raises(DROPPED):
            own_gateway.receive(connection)


def test_a_charge_that_was_held_at_the_end_is_never_made(own_gateway):
    with closing(own_gateway.hold_charge("held", 1925)):
        assert own_gateway.stop() == 0

    own_gateway.restart()

    assert own_gateway.charge("held") == {"outcome": "not_found"}


def test_the_profile_and_every_decision_survive_sigkill(own_gateway):
    own_gateway.profile(decline_ratio=0.25, cancel_fails=False, seed=3)
    answers = {"a": own_gateway.post_charge("a", 1250).body, "d": own_gateway.post_charge("d", 1902).body}
    own_gateway.cancel("t")
    own_gateway.post_charge("once", 1913)

    own_gateway.restart()

    assert own_gateway.profile()["decline_ratio"] == 0.25
    assert {key: own_gateway.charge(key) for key in answers} == answers
    assert own_gateway.post_charge("a", 1250) == (200, answers["a"], True)
    assert own_gateway.post_charge("t", 1250).status == 409
    assert own_gateway.post_charge("once", 1913).body["outcome"] == "approved"


def charge_until_it_dies(gateway: Simulator, approved: list[str], enough: threading.Event) -> None:
    while True:
        key = str(uuid4())
        try:
            answer = gateway.post_charge(key, 100)
        except DROPPED:
            return
        assert answer.body["outcome"] == "approved"
        approved.append(key)
        if len(approved) >= 200:
            enough.set()


def test_every_charge_that_was_answered_is_there_after_sigkill_under_load(own_gateway):
    approved: list[str] = []
    for _ in range(2):
        enough = threading.Event()
        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(charge_until_it_dies, own_gateway, approved, enough) for _ in range(4)]
            assert enough.wait(timeout=20)
            own_gateway.kill()
        assert [client.result() for client in clients] == [None] * 4
        own_gateway.restart()

        recorded = [record["key"] for record in own_gateway.records()]
        assert set(approved) <= set(recorded)
        # Each of the four clients may have one charge whose answer the kill swallowed.
        assert len(recorded) == len(set(recorded)) <= len(approved) + 8
        assert own_gateway.totals()["EUR"]["charges"] == len(recorded)


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (6, [3, 3]), (7, [3, 3, 1])])
def test_records_come_in_pages_that_miss_and_repeat_nothing(own_gateway, count, sizes):
    keys = [f"k{number}" for number in range(count)]
    for key in keys:
        own_gateway.post_charge(key, 1250)
        own_gateway.post_charge(f"declined-{key}", 1901)

    pages, after = [], 0
    while after is not None:
        body = own_gateway.request("GET", f"/v1/records?after={after}&limit=3").body
        pages.append([record["key"] for record in body["records"]])
        after = body["next"]

    assert [len(page) for page in pages] == sizes
    assert list(chain.from_iterable(pages)) == keys


def test_it_logs_its_start_and_each_change_and_nothing_secret(own_gateway):
    own_gateway.profile(latency_ms=1)
    own_gateway.request("PATCH", "/control/profile", {"latency_ms": "secret-body"}, token=own_gateway.control_token)
    own_gateway.request("POST", "/v1/charges", b"secret-body", key="secret-key")
    own_gateway.stop()

    lines = own_gateway.lines
    assert [json.loads(line)["event"] for line in lines] == ["profile_changed"]
    for secret in (own_gateway.token, own_gateway.control_token, "secret"):
        assert secret not in "".join(lines)


def test_a_full_disk_is_answered_without_a_promise_and_recovers(own_gateway):
    """The kernel refuses every write to a file, as it does on a full disk."""
    before = own_gateway.post_charge("before", 1250)
    pid = own_gateway.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))

    for refused in (own_gateway.post_charge("full", 1250), own_gateway.cancel("full")):
        assert (refused.status, refused.body) == (503, {"outcome": "unavailable", "code": "storage_unavailable"})
    assert own_gateway.post_charge("before", 1250) == (200, before.body, True)

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert own_gateway.charge("full") == {"outcome": "not_found"}
    assert own_gateway.post_charge("full", 1250).body["outcome"] == "approved"
    assert own_gateway.totals()["EUR"]["charges"] == 2
