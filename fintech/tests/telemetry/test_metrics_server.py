"""The exporter as a process: it needs neither Django's settings nor a database, and says why it cannot start."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fintech.testing.processes import BASE_DIR, Program, answers, free_port, request, running

pytestmark = pytest.mark.processes

COMMAND = [sys.executable, "-m", "fintech.telemetry.metrics_server"]


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


@pytest.mark.usefixtures("exporter")
def test_it_answers_before_any_web_process_has_lived(port):
    reply = request(port, "GET", "/metrics")

    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert [family.name for family in text_string_to_metric_families(reply.body.decode())] == ["metrics_epoch_info"]


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/x", "/health/", "/%00", "/favicon.ico", "/a" * 1000])
def test_other_paths_are_not_found(port, path):
    assert request(port, "GET", path).status == 404


@pytest.mark.usefixtures("exporter")
def test_a_scrape_goes_on_while_another_client_says_nothing(port):
    with socket.create_connection(("127.0.0.1", port)):
        assert request(port, "GET", "/metrics", timeout=2).status == 200


def test_it_writes_nothing_about_its_requests(exporter, port):
    request(port, "GET", "/jane@example.com?4111111111111111")

    assert exporter.output() == ""


def test_it_ends_when_it_is_told_to(tmp_path):
    port = free_port()
    env = {"METRICS_BIND": f"127.0.0.1:{port}", "RUNTIME_DIR": str(tmp_path)}
    with running(COMMAND, env, log=tmp_path / "log", ready=lambda: answers(port, "/health")) as program:
        assert program.stop(timeout=5) == 0
    assert program.output() == ""


def start(**env: str) -> str:
    """What it says when it does not start; one sentence, and the exit code 1."""
    env = {"PATH": "/usr/bin:/bin", **env}  # as in production: nothing of Django's is set
    run = subprocess.run(COMMAND, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 1, run
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "Address already in use" in start(METRICS_BIND=bind, RUNTIME_DIR=str(tmp_path))


@pytest.mark.parametrize("bind", ["9464", "127.0.0.1:99999", "127.0.0.1:x", ":9464"])
def test_a_wrong_address_is_told(tmp_path, bind):
    assert "METRICS_BIND is wrong: use host:port" in start(METRICS_BIND=bind, RUNTIME_DIR=str(tmp_path))


def test_a_directory_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    assert "Not a directory" in start(METRICS_BIND="127.0.0.1:0", RUNTIME_DIR=str(tmp_path / "file"))
