"""A drill against a running platform is recorded, so that its alerts are not taken for an incident."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from fintech.run.layout import Layout
from fintech.run.ports import Ports
from fintech.testing.processes import BASE_DIR, wait_until
from loadtests.drill import NotPossible, running_platform
from loadtests.drill.faults import FAULTS
from loadtests.drill.running_platform import REAL_TIME, annotate_grafana, in_real_time, recorded
from loadtests.gateway.profile import Profile
from loadtests.tests.simulator import Simulator

BEGAN = datetime(2026, 3, 1, 14, 3, tzinfo=UTC)
ENDED = BEGAN + timedelta(minutes=8)


Sent = list[tuple[str, str | None, Any]]


@contextmanager
def receiver() -> Iterator[tuple[str, Sent]]:
    """Run a server that notes what it is sent: path, authorization, body."""
    sent: Sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent.append((self.path, self.headers["Authorization"], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()
            thread.join()


def test_grafana_gets_an_annotation_over_the_time_of_the_drill(monkeypatch):
    with receiver() as (url, sent):
        monkeypatch.setenv("GRAFANA_URL", f"{url}/")
        monkeypatch.setenv("GRAFANA_TOKEN", "secret")
        annotate_grafana(FAULTS[0], BEGAN, ENDED)

    [(path, authorization, body)] = sent
    assert (path, authorization) == ("/api/annotations", "Bearer secret")
    times = {"time": BEGAN.timestamp() * 1000, "timeEnd": ENDED.timestamp() * 1000}
    assert body == {**times, "tags": ["drill"], "text": "Drill: gateway errors"}


def test_without_a_grafana_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("GRAFANA_URL", raising=False)
    annotate_grafana(FAULTS[0], BEGAN, ENDED)


def test_a_grafana_that_does_not_answer_is_said_and_changes_nothing(monkeypatch, capsys):
    monkeypatch.setenv("GRAFANA_URL", "http://127.0.0.1:1")
    annotate_grafana(FAULTS[0], BEGAN, ENDED)
    assert "Grafana has no annotation of the drill" in capsys.readouterr().out


# Makes a fault of the gateway, says so, and waits. Its arguments are ports and the control token.
KILLED = """
import sys
from types import SimpleNamespace
from loadtests.drill.faults import FAULTS
from loadtests.drill.running_platform import recorded

from loadtests.tests.simulator import Simulator

gateway, alertmanager, token = sys.argv[1:]
simulator = Simulator(None, GATEWAY_CONTROL_TOKEN=token)
simulator.port = int(gateway)
drill = SimpleNamespace(gateway=simulator, monitoring=SimpleNamespace(alertmanager=int(alertmanager)))
with recorded(drill, FAULTS[0]):
    FAULTS[0].begin(drill)
    print("began", flush=True)
    sys.stdin.read()
"""


@pytest.mark.processes
def test_the_guard_of_a_killed_drill_restores_the_profile_and_ends_the_record(gateway):
    before = gateway.profile(latency_ms=50)
    with receiver() as (url, sent):
        alertmanager = url.rpartition(":")[2]
        command = [sys.executable, "-c", KILLED, str(gateway.port), alertmanager, gateway.control_token]
        with subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as drill:
            assert drill.stdout is not None
            assert drill.stdout.readline() == b"began\n"
            assert gateway.profile() == {**before, "error_ratio": 0.3}
            drill.kill()
        wait_until(lambda: len(sent) > 1, 20, "the record ends")

    assert gateway.profile() == before
    [(_, _, [begun]), (path, _, [ended])] = sent
    assert (path, ended["labels"], ended["startsAt"]) == ("/api/v2/alerts", begun["labels"], begun["startsAt"])
    assert datetime.fromisoformat(ended["endsAt"]) < datetime.now(UTC) < datetime.fromisoformat(begun["endsAt"])


@pytest.mark.processes
def test_a_fault_ends_with_what_it_changed_as_before_and_keeps_what_others_changed(gateway):
    fault = next(fault for fault in FAULTS if fault.name == "slow gateway")
    gateway.profile(latency_ms=50)
    with receiver() as (url, sent):
        drill = SimpleNamespace(
            gateway=gateway, monitoring=SimpleNamespace(alertmanager=int(url.rpartition(":")[2])), before={}
        )
        with recorded(drill, fault):
            fault.begin(drill)
            assert gateway.profile()["latency_ms"] == 1250
            gateway.profile(decline_ratio=0.1)
            fault.end(drill)

    assert gateway.profile() == Profile(latency_ms=50, decline_ratio=0.1).to_fields()
    assert len(sent) == 2


@pytest.mark.processes
def test_a_gateway_with_another_token_gets_no_fault(gateway):
    stranger = Simulator(gateway.data)
    stranger.port = gateway.port
    drill = SimpleNamespace(gateway=stranger, monitoring=SimpleNamespace(alertmanager=1))
    with pytest.raises(NotPossible, match="refuses the control token"), recorded(drill, FAULTS[0]):
        pass


@pytest.mark.parametrize("silent", ["/ready", "/health", "/-/ready"])
def test_a_platform_with_a_part_that_does_not_answer_is_refused(tmp_path, monkeypatch, silent):
    monkeypatch.setattr(running_platform, "answers", lambda _, path: path != silent)
    with pytest.raises(NotPossible, match=r"does not answer on port \d+: start the platform"), ExitStack() as stack:
        running_platform.find(Layout(tmp_path, Ports()), stack)


def test_a_platform_on_the_server_of_database_url_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(running_platform, "answers", lambda *_: True)
    with pytest.raises(NotPossible, match="a drill cannot use the server of DATABASE_URL"), ExitStack() as stack:
        running_platform.find(Layout(tmp_path, Ports()), stack)


def test_a_running_platform_has_the_rules_own_time():
    fault = in_real_time(FAULTS[0])
    assert (fault.conditions, fault.conditions.minute, fault.alert) == (REAL_TIME, 60, FAULTS[0].alert)
