"""The load itself, run by the real Locust: against the real platform, and against services that answer wrongly."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.core.management import call_command

from fintech.testing import Platform
from loadtests.tests.simulator import ROOT, running_gateway

LOCUST = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary", "--json"]


def load(url: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "LOAD_", "API_KEY"))}
    return subprocess.run(
        [*LOCUST, "--host", url, *arguments],
        cwd=ROOT,
        env=clean | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def service(status: int, body: object, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Answers everything alike; the address, and the keys that it was asked with."""
    keys: list[str] = []

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
    with running_gateway(tmp_path) as gateway, Platform(tmp_path, gateway=gateway) as platform:
        result = load(platform.url, "--run-time", "8s", **env)
        moved = gateway.totals()

    assert result.returncode == 0, result.stderr
    requests = {row["name"]: row["num_requests"] for row in json.loads(result.stdout)}
    assert requests["/v1/transactions"] > 100
    assert {"/v1/transactions (replay)", "/v1/transactions/{id}", "/v1/transactions/{id}/refunds"} <= requests.keys()
    assert moved["EUR"]["charges"] > 50


@pytest.mark.parametrize(
    ("status", "body"),
    [(201, {"status": "succeeded"}), (201, []), (200, {}), (500, {"code": "internal"}), (401, {"code": "x"})],
)
def test_a_service_that_answers_wrongly_fails_the_run(status, body):
    with service(status, body) as (url, keys):
        result = load(url, "--run-time", "2s", API_KEY="k", LOAD_USERS="1", LOAD_RATE="10")

    assert result.returncode == 1
    rows = json.loads(result.stdout)
    assert [row["num_failures"] for row in rows] == [row["num_requests"] for row in rows]
    assert len(set(keys)) == len(keys) > 0


@pytest.mark.parametrize("status", [503, 429])
def test_it_tries_again_with_the_same_key_and_not_for_ever(status):
    with service(status, {"code": "away"}, {"Retry-After": "0"}) as (url, keys):
        load(url, "--run-time", "2s", API_KEY="k", LOAD_USERS="1", LOAD_RATE="5")

    singles = [key for key in keys if key]
    attempts = {singles.count(key) for key in singles[:-1]}
    assert max(attempts) == 5


def test_it_does_not_start_without_a_key():
    result = load("http://127.0.0.1:9", "--run-time", "1s")

    assert result.returncode == 1
    assert "API_KEY is not set" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("name", "value"), [("LOAD_USERS", "0"), ("LOAD_USERS", "many"), ("LOAD_RATE", "-1")])
def test_it_does_not_start_with_a_wrong_setting(name, value):
    result = load("http://127.0.0.1:9", "--run-time", "1s", API_KEY="k", **{name: value})

    assert result.returncode == 1
    assert name in result.stderr
    assert "Traceback" not in result.stderr
