"""Run every LogQL query of the dashboards in a real Loki with the platform's log lines.

Loki is no package of Debian: where it is not installed, `test_dashboards.py` still looks at the form of the queries.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from fintech.testing.processes import answers, free_port, request, running, wait_until
from observability.render import HERE
from observability.tests.lab import TRACE, Lab
from observability.tests.panels import GRAFANA, IN_LOKI

pytestmark = pytest.mark.processes

QUERIES = [query for panel in IN_LOKI for query in panel.queries]


def is_installed() -> bool:
    """Return True if Grafana's Loki is installed. Debian has another program of this name, for genetics."""
    program = shutil.which("loki")
    return program is not None and "loki, version" in subprocess.getoutput(f"{program} -version")


@contextmanager
def running_loki(directory: Path) -> Iterator[int]:
    """Run Loki with the committed configuration, except for paths and ports. Yield its port."""
    port, inner = free_port(), free_port()
    text = (HERE / "loki/loki.yml").read_text().replace(" /loki", f" {directory}/data")
    text = text.replace("http_listen_port: 3100", f"http_listen_port: {port}\n  grpc_listen_port: {inner}")
    (directory / "loki.yml").write_text(text)
    command = ["loki", f"-config.file={directory / 'loki.yml'}"]
    with running(command, log=directory / "loki.log", ready=partial(answers, port, "/ready"), timeout=60):
        yield port


def push(port: int, log: Path, *, container: str, service: str) -> None:
    """Send the lines of a log to Loki, with the labels of alloy/logs.alloy."""
    streams: dict[str, list[list[str]]] = {}
    for line in log.read_text().splitlines():
        level = json.loads(line).get("level", "unknown").lower() if line.startswith("{") else "unknown"
        streams.setdefault(level, []).append([str(time.time_ns()), line])

    def stream(level: str) -> dict[str, str]:
        return {"container": container, "service": service, "level": level}

    body = {"streams": [{"stream": stream(level), "values": lines} for level, lines in streams.items()]}
    assert request(port, "POST", "/loki/api/v1/push", body).status == 204


def found(port: int, expression: str) -> list[dict[str, Any]]:
    span = {"start": time.time_ns() - 600 * 10**9, "end": time.time_ns(), "step": 10}
    query = {"query": expression.replace("$__interval", "1m"), **span}
    reply = request(port, "GET", f"/loki/api/v1/query_range?{urlencode(query)}")
    assert reply.status == 200, reply.body
    return reply.body["data"]["result"]


@pytest.fixture(scope="module")
def loki(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_loki(tmp_path_factory.mktemp("loki")) as port:
        push(port, lab.directory / "web.log", container="fintech_flask", service="app")
        push(port, lab.directory / "worker.log", container="fintech-worker-1", service="worker")
        wait_until(partial(found, port, '{service="worker"}'), 10, "the lines can be found")
        yield port


def test_the_link_to_the_trace_finds_its_id_in_what_was_logged(lab: Lab):
    document = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text())
    source = next(source for source in document["datasources"] if source["uid"] == "loki")
    [field] = source["jsonData"]["derivedFields"]

    assert TRACE in re.findall(field["matcherRegex"], (lab.directory / "web.log").read_text())


@pytest.mark.skipif(not is_installed(), reason="Loki is not installed")
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.panel)
def test_a_query_of_logs_returns_data(loki: int, query):
    if query.is_empty:
        assert not found(loki, query.expression), "take it out of the list of what is rightly empty"
    else:
        assert found(loki, query.expression)
