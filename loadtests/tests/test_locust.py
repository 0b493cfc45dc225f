"""The load itself, run by the real Locust: against the real platform, and against services that answer wrongly."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command

from fintech.testing.processes import Platform, wait_until
from loadtests.tests.simulator import ROOT, running_gateway

pytestmark = pytest.mark.processes

LOCUST = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary", "--json"]


@contextmanager
def load(url: str, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """Locust, until `result` stops it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "LOAD_", "API_KEY"))}
    process = subprocess.Popen(
        [*LOCUST, "--host", url],
        cwd=ROOT,
        env=clean | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result(process: "subprocess.Popen[str]") -> list[dict]:
    """Ends it as a supervisor does (gevent may print a traceback of Ctrl-C); its table."""
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    return json.loads(output)


def how_it_failed_to_start(**env: str) -> str:
    with load("http://127.0.0.1:9", **env) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in errors
    return errors


@contextmanager
def service(status: int, body: object, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str | None]]]:
    """Answers everything alike; the address, and the keys that it was asked with."""
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Idempotency-Key"])
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", keys
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def api_key_file(tmp_path) -> Path:
    call_command("bootstrap", out=tmp_path / "secrets", verbosity=0)
    return tmp_path / "secrets" / "api_key"


def test_the_platform_answers_everything_right(tmp_path, api_key_file):
    env = {"API_KEY_FILE": str(api_key_file), "LOAD_USERS": "4", "LOAD_RATE": "20"}

    def has_done_enough() -> bool:
        done = gateway.totals().values()
        return sum(row["charges"] for row in done) > 120 and sum(row["refunds"] for row in done) > 0

    with (
        running_gateway(tmp_path) as gateway,
        Platform(tmp_path, gateway=gateway, workers=1) as platform,
        load(platform.url, **env) as process,
    ):
        wait_until(has_done_enough, timeout=60, what="120 charges and a refund")
        rows = result(process)

    assert [row["name"] for row in rows if row["num_failures"]] == []
    assert process.returncode == 0
    names = {row["name"] for row in rows}
    assert {"/v1/transactions", "/v1/transactions (replay)", "/v1/transactions/{id}"} <= names


@pytest.mark.parametrize(
    ("status", "body"), [(201, {"status": "succeeded"}), (201, []), (201, {}), (500, {"code": "internal"})]
)
def test_a_service_that_answers_wrongly_fails_the_run(status, body):
    with service(status, body) as (url, keys), load(url, API_KEY="k", LOAD_USERS="1", LOAD_RATE="10") as process:
        wait_until(lambda: len(keys) >= 5, timeout=30, what="five requests")
        rows = result(process)

    assert process.returncode == 1
    assert [row["num_failures"] for row in rows] == [row["num_requests"] for row in rows]
    singles = [key for key in keys if key]
    assert len(set(singles)) == len(singles) > 0


@pytest.mark.parametrize("status", [503, 429])
def test_it_tries_again_with_the_same_key_and_not_for_ever(status):
    down = service(status, {"code": "down"}, {"Retry-After": "0"})
    with down as (url, keys), load(url, API_KEY="k", LOAD_USERS="1", LOAD_RATE="10") as process:
        wait_until(lambda: len(set(keys) - {None}) >= 3, timeout=30, what="three keys")
        result(process)

    singles = [key for key in keys if key]
    complete = dict.fromkeys(singles)
    complete.pop(singles[-1])
    assert {singles.count(key) for key in complete} == {5}


def test_in_compose_its_log_is_json_with_a_level():
    """As docker-compose.yml starts it, on a port that is taken, and without workers."""
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["loadmaster"]["command"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = ["--web-port", str(listener.getsockname()[1]), "--expect-workers-max-wait=1"]
        process = subprocess.run(
            [sys.executable, "-m", *command, *port],
            cwd=ROOT,
            env=os.environ | {"API_KEY": "k"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    levels = [json.loads(line)["level"] for line in process.stdout.splitlines()]
    assert process.returncode != 0
    assert set(levels) == {"CRITICAL", "ERROR"}


def test_it_does_not_start_without_a_key():
    assert "API_KEY is not set" in how_it_failed_to_start()


@pytest.mark.parametrize(("name", "value"), [("LOAD_USERS", "many"), ("LOAD_RATE", "-1")])
def test_it_does_not_start_with_a_wrong_setting(name, value):
    assert name in how_it_failed_to_start(API_KEY="k", **{name: value})
