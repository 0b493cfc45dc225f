"""`python -m fintech.run` as a person runs it. The tests are in the order of one day: one start serves most of them."""

import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fintech.run import checks
from fintech.run.layout import Layout
from fintech.run.ports import Ports
from fintech.run.postgres import EmbeddedPostgres
from fintech.run.supervisor import call
from fintech.testing.processes import Program, Reply, answers, request, scrape, wait_until

pytestmark = [pytest.mark.in_order, pytest.mark.processes]

READY_SECONDS = 120
PAYMENT = {"amount": 1250, "currency": "EUR", "payment_method": {"type": "card", "token": "tok_visa", "country": "DE"}}
# What the tests' own environment has and a person's has not.
OURS = ("DATABASE_", "DJANGO_", "GATEWAY_", "METRICS_", "ALERT_", "AUDIT_", "RUNTIME_", "HTTPS")

# Shells hold these for other programs; each of them used to break a start.
OF_OTHER_PROGRAMS = {
    "API_KEY": "of-another-service",
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "GUNICORN_CMD_ARGS": "--bind=127.0.0.1:1 --worker-class=gevent",
    "LOCUST_RUN_TIME": "5s",
    "PGCHANNELBINDING": "require",
    "PGHOSTADDR": "127.0.0.1",
    "PGSERVICE": "shop",
    "PROMETHEUS_MULTIPROC_DIR": "/nowhere",
    "PYTHONIOENCODING": "iso-8859-1",
    "LC_ALL": "de_DE.ISO-8859-1",
}


def free_base_port() -> int:
    """Ten free ports in a row, below those that outgoing connections use."""
    while True:
        base = random.randrange(20_000, 32_000, 10)
        if all(checks.is_free(base + offset) for offset in range(10)):
            return base


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    """In a folder that PostgreSQL's account can reach, and with a name that wants quoting."""
    with tempfile.TemporaryDirectory(prefix="fintech #1 ;100% ") as directory:
        found = Layout(Path(directory) / "var", Ports.from_base(free_base_port()))
        yield found
        found.make_directories()
        checks.stop_leftovers(found, EmbeddedPostgres(found.postgres))


def make_run(layout: Layout, **env: str) -> Program:
    command = [sys.executable, "-m", "fintech.run", "--var", str(layout.var)]
    program = Program(command, log=layout.var.parent / f"run-{random.randrange(10**9)}.log")
    program.env = {name: value for name, value in program.env.items() if not name.startswith(OURS)}
    program.env |= {"NO_LOAD": "1", "WEB_CONCURRENCY": "1", "BASE_PORT": str(layout.ports.web), **env}
    return program


def start(layout: Layout, **env: str) -> Program:
    program = make_run(layout, **OF_OTHER_PROGRAMS, **env)
    program.start(ready=lambda: "Ready " in program.output(), timeout=READY_SECONDS)
    return program


def refusal(layout: Layout, **env: str) -> str:
    """Return the error of a run that ends by itself, which must be exit code 1 and a sentence."""
    program = make_run(layout, **env)
    program.start()
    try:
        assert wait_until(lambda: not program.alive, READY_SECONDS, f"the run ends:\n{program.output()}")
    finally:
        program.kill()
    assert program.process.returncode == 1
    assert "Traceback" not in program.output()
    return program.output()


def our_processes(layout: Layout) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if checks.is_ours(process, layout)]


@pytest.fixture(scope="module")
def running(layout: Layout) -> Iterator[Program]:
    program = start(layout)
    yield program
    if program.alive:
        program.stop(timeout=60)


def pay(layout: Layout, key: str, currency: str = "EUR") -> Reply:
    return post(layout, "/v1/transactions", PAYMENT | {"currency": currency}, key)


def post(layout: Layout, path: str, body: dict[str, Any], key: str) -> Reply:
    headers = {"Authorization": f"Bearer {layout.api_key.read_text().strip()}", "Idempotency-Key": key}
    return request(layout.ports.web, "POST", path, body, headers=headers)


def test_it_says_where_everything_is_and_all_of_it_answers(running, layout):
    ports, output = layout.ports, running.output()

    for port, path in (
        (ports.web, "/ready"),
        (ports.web, "/v1/docs"),
        (ports.metrics, "/metrics"),
        (ports.worker, "/metrics"),
        (ports.gateway, "/health"),
        (ports.merchant, "/health"),
    ):
        assert f"http://127.0.0.1:{port}" in output
        assert answers(port, path), (port, path)
    password = (layout.secrets / "admin_password").read_text().strip()
    assert f"user admin, password {password}" in output


def test_secrets_are_for_their_owner_alone(running, layout):
    names = {path.name for path in layout.secrets.iterdir()}

    assert names >= {"django_secret_key", "gateway_token", "alert_token", "api_key", "admin_password"}
    assert {path.stat().st_mode & 0o777 for path in layout.secrets.iterdir()} == {0o600}
    configuration = (layout.run / "supervisord.conf").read_text()
    for path in layout.secrets.iterdir():
        assert path.read_text().strip() not in configuration


@pytest.mark.skipif(not shutil.which("prometheus-alertmanager"), reason="Alertmanager is not installed")
def test_the_worker_asks_what_fired(running, layout):
    name = 'alert_poll_errors_total{kind="alertmanager",source="alertmanager"}'

    wait_until(lambda: name in scrape(layout.ports.worker), 30, "the worker has asked Alertmanager")


def test_a_payment_goes_through_and_is_counted(running, layout):
    reply = pay(layout, "first")

    assert (reply.status, reply.body["status"]) == (201, "succeeded")
    assert scrape(layout.ports.metrics)['transactions_total{status="succeeded"}'] == 1
    wait_until(lambda: "First payment succeeded" in running.output(), 20, "the first payment is announced")


def test_the_merchants_receiver_verifies_a_webhook_within_a_minute(running, layout):
    payment = pay(layout, "first").body["id"]  # a replay: paid by the test before

    def received() -> bool:
        lines = [json.loads(line) for line in (layout.logs / "merchant.log").read_text().splitlines()]
        webhooks = [(line["type"], line["object"]) for line in lines if line.get("event") == "webhook_received"]
        return ("payment.succeeded", payment) in webhooks

    wait_until(received, 60, "the webhook arrived")
    wait_until(lambda: "First webhook delivered" in running.output(), 20, "it is reported")


@pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed")
def test_prometheus_scrapes_whatever_runs(running, layout):
    there = {"web", "worker", "prometheus"}
    there |= {"alertmanager"} if shutil.which("prometheus-alertmanager") else set()
    there |= {"node"} if shutil.which("prometheus-node-exporter") else set()
    # The exporter itself, and the services that it asks.
    there |= {"blackbox", "probe"} if shutil.which("prometheus-blackbox-exporter") else set()

    def jobs_that_are_up() -> set[str]:
        reply = request(layout.ports.prometheus, "GET", "/api/v1/query?query=up")
        return {row["metric"]["job"] for row in reply.body["data"]["result"] if row["value"][1] == "1"}

    wait_until(lambda: jobs_that_are_up() == there, 30, f"Prometheus sees {', '.join(sorted(there))}")


def test_a_second_run_is_refused_while_the_first_goes_on(running, layout):
    assert f"error: The platform is already running (PID {running.pid}): stop that run with Ctrl-C first." in refusal(
        layout
    )
    assert answers(layout.ports.web, "/ready")


@pytest.mark.parametrize("name", ["worker", "postgres"])
def test_a_killed_process_is_reported_and_comes_back(running, layout, name):
    pid = call(layout.supervisor_socket, "getProcessInfo", name)["pid"]
    os.kill(pid, signal.SIGKILL)

    wait_until(
        lambda: f"{name} ended (terminated by SIGKILL)" in running.output(),
        10,
        lambda: f"{name}'s end is said:\n{running.output()}",
    )
    wait_until(lambda: f"{name} is back." in running.output(), 30, running.output)
    assert call(layout.supervisor_socket, "getProcessInfo", name)["pid"] not in (0, pid)
    wait_until(lambda: answers(layout.ports.web, "/ready"), 10, "the service is ready again")


def test_ctrl_c_stops_everything_in_order(running, layout):
    assert running.stop(number=signal.SIGINT, timeout=60) == 0

    assert "Traceback" not in running.output()
    assert running.output().rstrip().endswith("Everything has stopped.")
    assert our_processes(layout) == []
    assert EmbeddedPostgres(layout.postgres).pid() is None
    log = (layout.logs / "supervisord.log").read_text()
    places = [log.rindex(f"stopped: {name}") for name in ("web", "worker", "gateway", "postgres")]
    assert places == sorted(places)


def test_a_taken_port_is_named_and_nothing_is_left(layout):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", layout.ports.gateway))
        listener.listen()

        said = refusal(layout)

    assert f"error: Port {layout.ports.gateway} (gateway) is taken by" in said
    assert f"(PID {os.getpid()})" in said
    assert our_processes(layout) == []


def assert_that_the_second_gateway_charges_dollars(running: Program, layout: Layout) -> None:
    calls = 'gateway_calls_total{{gateway="{}",outcome="approved"}}'.format
    assert f"http://127.0.0.1:{layout.ports.stripe}   routes: USD=stripe" in running.output()

    euros, dollars = pay(layout, "euros"), pay(layout, "dollars", "USD")
    refund = post(layout, f"/v1/transactions/{dollars.body['id']}/refunds", {"amount": 400}, "dollars-back")

    assert [reply.body["status"] for reply in (euros, dollars, refund)] == ["succeeded"] * 3
    counted = scrape(layout.ports.metrics)
    assert (counted[calls("simulator")], counted[calls("stripe")]) == (2, 2)  # the first payment was yesterday


def test_the_next_day_continues_with_the_same_data_and_survives_being_killed(layout):
    password = (layout.secrets / "admin_password").read_text().strip()
    second = start(layout, SECOND_GATEWAY="USD")
    try:
        assert f"user admin, password {password}" in second.output()
        again = pay(layout, "first")
        assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
        assert_that_the_second_gateway_charges_dollars(second, layout)
    finally:
        second.kill()  # supervisord and all the rest go on
    assert answers(layout.ports.web, "/ready")

    said = refusal(layout, WEB_THREADS="none")

    assert "An earlier run was killed; stopped its leftovers: its supervisor and what it ran" in said
    assert re.search(r"error: web keeps failing \(exit status 1, \d times within a minute\)\. Everything is", said)
    assert "WEB_THREADS='none' is wrong: use a number." in said
    assert our_processes(layout) == []
    assert EmbeddedPostgres(layout.postgres).pid() is None


def test_a_database_that_does_not_answer_is_a_sentence(layout):
    said = refusal(layout, DATABASE_URL="postgresql://shop:topsecret@127.0.0.1:1/shop")

    assert "error: The PostgreSQL of DATABASE_URL cannot be used: connection" in said
    assert "topsecret" not in said


def test_a_wrong_base_port_is_a_sentence(layout):
    assert "error: BASE_PORT=80 is wrong: use a number from 1024 to 65526, such as 8200." in refusal(
        layout, BASE_PORT="80"
    )
