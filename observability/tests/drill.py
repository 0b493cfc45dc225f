"""Run the whole platform under accelerated monitoring, inject faults, and observe the alerts in the trail.

with running_drill(tmp_path) as drill:
    drill.gateway.profile(error_ratio=0.3)
    wait_until(lambda: "PaymentErrorRatioHigh" in drill.fired(since=began))
"""

import http.client
import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psycopg

from fintech.testing.processes import Load, wait_until
from loadtests import traffic
from loadtests.tests.simulator import Simulator
from observability.tests.monitoring import EXPORTERS, Monitoring, ask
from payments.tests.own_platform import OwnPlatform, own_platform

# A minute becomes three seconds, and `[5m]` becomes 15.
SPEED = 20
MINUTE = 60 / SPEED  # real seconds
# Settings that must keep up with the accelerated rules: deadlines, polls of the monitoring, verifications.
QUICK = {
    "GATEWAY_TIMEOUT_SECONDS": "1.7",
    "GATEWAY_DEADLINE_SECONDS": "1.8",
    "LEASE_SECONDS": "2.5",
    "ALERT_POLL_SECONDS": "1",
    "AUDIT_SEAL_SECONDS": "2",
    "AUDIT_VERIFY_SECONDS": "5",
}
ALWAYS = "Watchdog"


class Traffic(Load):
    """The steady load of `make run`, about twenty payments a second, from merchants who do not give up.

    `changes` override fields of each payment's body.
    """

    def __init__(self, own: OwnPlatform) -> None:
        super().__init__([partial(self._run, Random(seed)) for seed in range(4)])
        self.changes: dict[str, Any] = {}
        self._own = own

    def _run(self, random: Random) -> None:
        while not self.stopped.wait(0.2):
            body = {**traffic.new_payment(random).body, **self.changes}
            with suppress(OSError, http.client.HTTPException):
                path, key = "/v1/transactions", str(uuid4())
                self._own.platform.request("POST", path, body, api_key=self._own.api_key, key=key, timeout=5)


class Machine:
    """The machine that the node exporter reports in a drill: the memory and the file systems that are written here."""

    def __init__(self, directory: Path) -> None:
        self._processes = directory
        (directory / "1").mkdir(parents=True)
        self.set_available_memory(0.5)
        self.set_file_system(directory, "tmpfs")  # no rule is about such a one

    @property
    def exporter(self) -> list[str]:
        collectors = ["--collector.disable-defaults", "--collector.filesystem", "--collector.meminfo"]
        return ["prometheus-node-exporter", *collectors, f"--path.procfs={self._processes}"]

    def set_available_memory(self, share: float) -> None:
        self._write("meminfo", f"MemTotal: 1000000 kB\nMemAvailable: {share * 1_000_000:.0f} kB\n")

    def set_file_system(self, path: Path | str, kind: str) -> None:
        self._write("1/mounts", f"device {path} {kind} rw 0 0\n")

    def _write(self, name: str, text: str) -> None:
        draft = self._processes / "draft"
        draft.write_text(text)
        draft.replace(self._processes / name)


@dataclass
class Drill:
    """A running platform. `jobs` are the installed exporters; what a fault leaves to `stack` ends with the drill."""

    own: OwnPlatform
    traffic: Traffic
    monitoring: Monitoring
    machine: Machine
    jobs: frozenset[str]
    stack: ExitStack
    leaked: list[psycopg.Connection] = field(default_factory=list)

    @property
    def gateway(self) -> Simulator:
        return self.own.gateway

    def alerts(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts in Prometheus."""
        return ask(self.monitoring.prometheus, "alerts")["alerts"]

    def firing(self) -> set[str]:
        """Return the firing alerts in Prometheus, notified or suppressed."""
        return {alert["labels"]["alertname"] for alert in self.alerts() if alert["state"] == "firing"}

    def execute(self, *statements: str) -> None:
        """Execute statements as a superuser, in one session."""
        with psycopg.connect(self.own.server.url("postgres", "fintech"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def wait_until_calm(self) -> None:
        """Wait until all metrics exist, the heartbeat has arrived, and no other alert is firing or pending."""

        def calm() -> bool:
            names = {alert["labels"]["alertname"] for alert in self.alerts()}
            return names == {ALWAYS} and ALWAYS in self.received("firing", since=0)

        wait_until(calm, 60, "calm before the drill", interval=0.2)

    def fired(self, *, since: float) -> set[str]:
        """Return the alerts, except the heartbeat, that started at `since` or later and arrived as firing."""
        return self.received("firing", since=since).keys() - {ALWAYS}

    def resolved(self, *, since: float) -> set[str]:
        return set(self.received("resolved", since=since))

    def received(self, status: str, *, since: float) -> dict[str, float]:
        """Return when each alert first arrived, in seconds since 1970. Empty while the database is unavailable."""
        try:
            rows = self.own.query(
                "SELECT body, extract(epoch FROM received_at) FROM alerts_audit_delivery ORDER BY id DESC"
            )
        except psycopg.OperationalError:
            return {}
        return {
            alert["labels"]["alertname"]: float(at)
            for body, at in rows
            for alert in alerts_in(bytes(body))
            if alert["status"] == status and began(alert) >= since
        }


def post_without_token(drill: Drill) -> None:
    headers = {"Authorization": f"Bearer {secrets.token_urlsafe()}"}
    assert drill.own.platform.request("POST", "/alert", {}, headers=headers).status == 401


def alerts_in(body: bytes) -> list[dict[str, Any]]:
    """Return the alerts of a delivery, or none if it cannot be parsed, which is the fault of one drill."""
    try:
        return json.loads(body)["alerts"]
    except (ValueError, KeyError):
        return []


def began(alert: dict[str, Any]) -> float:
    """Convert a timestamp to seconds since 1970."""
    return datetime.fromisoformat(alert["startsAt"]).astimezone(UTC).timestamp()


@contextmanager
def running_drill(directory: Path) -> Iterator[Drill]:
    with ExitStack() as stack:
        # As durable as in production: a commit lost by a stopped database would be a difference to the gateway's books.
        own = stack.enter_context(own_platform(directory, postgres={}, workers=2, env=QUICK))
        monitoring = Monitoring(directory, SPEED)
        # Alerts on this machine's own disks and memory are not part of the drill.
        machine = Machine(directory / "machine")
        exporters = {**EXPORTERS, "node": machine.exporter}
        jobs = monitoring.start(stack, own, exporters=exporters, keeps=stack)
        sent = stack.enter_context(Traffic(own))
        yield Drill(own, sent, monitoring, machine, jobs, stack)
