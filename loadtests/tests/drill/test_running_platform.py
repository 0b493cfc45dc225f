"""A drill against a running platform is recorded, so that its alerts are not taken for an incident."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loadtests.drill.faults import FAULTS
from loadtests.drill.running_platform import REAL_TIME, annotate_grafana, in_real_time

BEGAN = datetime(2026, 3, 1, 14, 3, tzinfo=UTC)
ENDED = BEGAN + timedelta(minutes=8)


@contextmanager
def grafana() -> Iterator[tuple[str, list[tuple[str, str | None, dict[str, Any]]]]]:
    """Run a server that notes what it is sent: path, authorization, body."""
    sent: list[tuple[str, str | None, dict[str, Any]]] = []

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
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()
        thread.join()


def test_grafana_gets_an_annotation_over_the_time_of_the_drill(monkeypatch):
    with grafana() as (url, sent):
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


def test_a_running_platform_has_the_rules_own_time():
    fault = in_real_time(FAULTS[0])
    assert (fault.conditions, fault.conditions.minute, fault.alert) == (REAL_TIME, 60, FAULTS[0].alert)
