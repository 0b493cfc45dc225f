"""The whole platform under monitoring whose time runs faster, for faults: what do they bring to the alert trail?

with running_drill(tmp_path) as drill:
    drill.gateway.profile(error_ratio=0.3)
    wait_until(lambda: "PaymentErrorRatioHigh" in drill.fired(since=began))
"""

import http.client
import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
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
MINUTE = 60 / SPEED  # seconds of ours
# What is no duration in a rule, but has to keep up with them: deadlines, questions to the monitoring, verifications.
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
    """What the steady load of `make run` sends, about twenty payments a second, from merchants who do not give up.

    `changes` are written over each payment's body.
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


@dataclass
class Drill:
    """`prometheus` is its port; `jobs` are the exporters that are installed."""

    own: OwnPlatform
    traffic: Traffic
    prometheus: int
    jobs: frozenset[str]

    @property
    def gateway(self) -> Simulator:
        return self.own.gateway

    def alerts(self) -> list[dict[str, Any]]:
        """What Prometheus says: pending and firing ones."""
        return ask(self.prometheus, "alerts")["alerts"]

    def firing(self) -> set[str]:
        """What Prometheus says, whether it is told or silenced."""
        return {alert["labels"]["alertname"] for alert in self.alerts() if alert["state"] == "firing"}

    def execute(self, *statements: str) -> None:
        """As a superuser, in one session."""
        with psycopg.connect(self.own.server.url("postgres", "fintech"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def wait_until_calm(self) -> None:
        """Everything has been measured once, the heartbeat has arrived, and nothing else fires or is about to."""

        def calm() -> bool:
            names = {alert["labels"]["alertname"] for alert in self.alerts()}
            return names == {ALWAYS} and ALWAYS in self.received("firing", since=0)

        wait_until(calm, 60, "calm before the drill", interval=0.2)

    def fired(self, *, since: float) -> set[str]:
        """Alerts that the trail received as firing, and that began then or later. The heartbeat is none of them."""
        return self.received("firing", since=since).keys() - {ALWAYS}

    def resolved(self, *, since: float) -> set[str]:
        return set(self.received("resolved", since=since))

    def received(self, status: str, *, since: float) -> dict[str, float]:
        """When each first arrived, in seconds since 1970. Nothing while the database is away."""
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


def post_as_stranger(drill: Drill) -> None:
    headers = {"Authorization": f"Bearer {secrets.token_urlsafe()}"}
    assert drill.own.platform.request("POST", "/alert", {}, headers=headers).status == 401


def alerts_in(body: bytes) -> list[dict[str, Any]]:
    """None of what cannot be read, which is a fault of a drill."""
    try:
        return json.loads(body)["alerts"]
    except (ValueError, KeyError):
        return []


def began(alert: dict[str, Any]) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(alert["startsAt"]).astimezone(UTC).timestamp()


@contextmanager
def running_drill(directory: Path) -> Iterator[Drill]:
    with ExitStack() as stack:
        # As durable as in production: what a stopped database forgets would be a difference to the gateway's books.
        own = stack.enter_context(own_platform(directory, postgres={}, workers=2, env=QUICK))
        monitoring = Monitoring(directory, SPEED)
        # The machine's own disks and memory are not what is drilled.
        wanted = [job for job in EXPORTERS if job != "node"]
        exporters = monitoring.start(stack, own, wanted=wanted, keeps=stack)
        sent = stack.enter_context(Traffic(own))
        yield Drill(own, sent, monitoring.prometheus, exporters)
