"""Drills against the platform of `make run`: only faults that HTTP makes and undoes, in real time.

The alert trail records each drill as the alert `Drill`, so that its alerts are not taken for an incident.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request

from fintech.run.kpis import OPENER
from fintech.run.layout import DATABASE, Layout, make_environment
from fintech.run.ports import read_ports
from fintech.run.postgres import EmbeddedPostgres
from fintech.secret_files import read_secret
from fintech.testing.processes import Platform, answers, request
from loadtests.drill import NotPossible
from loadtests.drill.faults import Fault
from loadtests.drill.injectors.conditions import REAL_TIME
from loadtests.drill.lab import RECORD, Drill, Machine, Traffic
from loadtests.drill.monitoring import Monitoring
from loadtests.drill.undo import Undo, undone_if_killed
from loadtests.own_platform import OwnPlatform
from loadtests.tests.simulator import Simulator

# Longer than any drill. If the drill is killed, its record ends by itself.
LONGEST = timedelta(hours=2)


def in_real_time(fault: Fault) -> Fault:
    return replace(fault, conditions=REAL_TIME)


@contextmanager
def running_platform(var: Path, fault: Fault, stack: ExitStack) -> Iterator[Drill]:
    """Provide the platform of `make run` with its data in `var`, and record the drill. Raise NotPossible."""
    drill = find(Layout(var.resolve(), read_ports(os.environ.get("BASE_PORT", ""))), stack)
    with recorded(drill, fault):
        yield drill


def find(layout: Layout, stack: ExitStack) -> Drill:
    ports = layout.ports
    for name, port, path in (
        ("the web", ports.web, "/ready"),
        ("the gateway", ports.gateway, "/health"),
        ("Prometheus", ports.prometheus, "/-/ready"),
        ("Alertmanager", ports.alertmanager, "/-/ready"),
    ):
        if not answers(port, path):
            raise NotPossible(f"{name} does not answer on port {port}: start the platform with `make run`")
    server = EmbeddedPostgres(layout.postgres)
    if server.pid() is None:  # the trail could not be read, and all waits for it would be in vain
        raise NotPossible(f"no PostgreSQL runs on {layout.postgres}: a drill cannot use the server of DATABASE_URL")
    tokens = {
        name.upper(): read_secret(layout.secrets / name) or "" for name in ("gateway_token", "gateway_control_token")
    }
    gateway = Simulator(layout.var / "gateway.sqlite3", **tokens)
    gateway.port = ports.gateway
    platform = Platform(layout.run)
    platform.port, platform.metrics_port, platform.worker_port = ports.web, ports.metrics, ports.worker
    platform.env = make_environment(layout, server.urls(DATABASE), os.environ)
    own = OwnPlatform(server, gateway, platform, read_secret(layout.api_key) or "")
    monitoring = Monitoring(layout.run, 1, REAL_TIME.scrape_seconds, ports.prometheus, ports.alertmanager)
    machine = Machine.__new__(Machine)  # of this machine nothing is replaced
    return Drill(own, Traffic(own), monitoring, machine, frozenset(), stack, None, REAL_TIME)


@contextmanager
def recorded(drill: Drill, fault: Fault) -> Iterator[None]:
    """Record the drill in the trail. If it is killed, its guard ends its record, and its fault."""
    began, gateway, alertmanager = datetime.now(UTC), drill.gateway, drill.monitoring.alertmanager
    profile = read_profile(gateway)
    record = make_record(fault, began)
    with undone_if_killed(Undo(gateway.port, gateway.control_token, profile, alertmanager, record)):
        send_record(alertmanager, record, began + LONGEST)
        try:
            yield
        finally:
            ended = datetime.now(UTC)
            send_record(alertmanager, record, ended)
            annotate_grafana(fault, began, ended)


def read_profile(gateway: Simulator) -> dict[str, Any]:
    answer = gateway.request("GET", "/control/profile", token=gateway.control_token)
    if answer.status != 200:
        raise NotPossible(f"the gateway on port {gateway.port} refuses the control token in the secrets of --var")
    return answer.body


def make_record(fault: Fault, began: datetime) -> dict[str, Any]:
    return {
        "labels": {"alertname": RECORD, "severity": "none", "fault": fault.name},
        "annotations": {"summary": f"A drill, not an incident: {fault.name}. It expects {fault.alert or 'no alert'}."},
        "startsAt": began.isoformat(),
    }


def send_record(alertmanager: int, record: dict[str, Any], ends: datetime) -> None:
    alert = {**record, "endsAt": ends.isoformat()}
    assert request(alertmanager, "POST", "/api/v2/alerts", [alert]).status == 200


def annotate_grafana(fault: Fault, began: datetime, ended: datetime) -> None:
    """Mark the drill in the dashboards, if GRAFANA_URL names a Grafana. GRAFANA_TOKEN is a service account's."""
    url = os.environ.get("GRAFANA_URL", "")
    if not url:
        return
    times = {"time": round(began.timestamp() * 1000), "timeEnd": round(ended.timestamp() * 1000)}
    body = json.dumps({**times, "tags": ["drill"], "text": f"Drill: {fault.name}"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('GRAFANA_TOKEN', '')}"}
    annotation = Request(f"{url.rstrip('/')}/api/annotations", body, headers)  # noqa: S310 - the operator's address
    try:
        OPENER.open(annotation, timeout=10).close()  # the same address
    except OSError as error:  # the drill itself is over
        print(f"  Grafana has no annotation of the drill: {error}")
