"""Run the whole platform under accelerated monitoring, inject faults, and observe the alerts in the trail.

with running_drill(tmp_path) as drill:
    drill.gateway.profile(error_ratio=0.3)
    wait_until(lambda: "PaymentErrorRatioHigh" in drill.fired(since=began))
"""

import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psycopg

from fintech.run import interruption
from fintech.testing.processes import Load, wait_until
from loadtests.drill.monitoring import EXPORTERS, SCRAPE_SECONDS, Monitoring, ask
from loadtests.drill.phone import Phone, ringing_phone
from loadtests.own_platform import OwnPlatform, own_platform
from loadtests.random_payments import new_payment
from loadtests.tests.simulator import Simulator

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
# The alert that records a drill against a running platform.
RECORD = "Drill"


@dataclass(frozen=True)
class Conditions:
    """The conditions of a drill: the rules' speed, the scrapes, and the platform.

    `settings` are additional settings of the platform, and `durations` are those in seconds of the rules' time.
    `history` is OpenMetrics text of the days before the drill.
    `watched`: the worker polls the monitoring. `change` edits the folder of its configuration before it
    starts. `with_traffic`: merchants pay while the drill runs.
    """

    speed: float = SPEED
    scrape_seconds: float = SCRAPE_SECONDS
    settings: tuple[tuple[str, str], ...] = ()
    durations: tuple[tuple[str, float], ...] = ()
    history: Callable[[], str] | None = None
    watched: bool = False
    change: Callable[[Path], object] | None = None
    with_traffic: bool = True

    @property
    def minute(self) -> float:
        """Return the real seconds of a minute of the rules' time."""
        return 60 / self.speed

    @property
    def env(self) -> dict[str, str]:
        """Return the additional settings of the platform."""
        return {**dict(self.settings), **{name: f"{seconds / self.speed:g}" for name, seconds in self.durations}}


USUAL = Conditions()


class Traffic(Load):
    """The steady load of `make run`, about twenty payments a second, from merchants who do not give up.

    `changes` override fields of each payment's body. A merchant waits for `pause_seconds` between two payments.
    """

    PAUSE_SECONDS = 0.2

    def __init__(self, own: OwnPlatform, *, merchants: int = 4, pause_seconds: float = PAUSE_SECONDS) -> None:
        super().__init__([partial(self._run, Random(seed)) for seed in range(merchants)])
        self.changes: dict[str, Any] = {}
        self.pause_seconds = pause_seconds
        self._own = own

    def _run(self, random: Random) -> None:
        while not self._wait():
            body = {**new_payment(random).body, **self.changes}
            with suppress(OSError, http.client.HTTPException):
                path, key = "/v1/transactions", str(uuid4())
                self._own.platform.request("POST", path, body, api_key=self._own.api_key, key=key, timeout=5)

    def _wait(self) -> bool:
        """Wait until the pause is over or shortened. Return True if the traffic has stopped."""
        began = time.monotonic()
        while not self.stopped.wait(min(0.1, self.pause_seconds)):
            if time.monotonic() - began >= self.pause_seconds:
                return False
        return True


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
        texts = ["--collector.textfile", f"--collector.textfile.directory={self._processes}"]
        return ["prometheus-node-exporter", *collectors, *texts, f"--path.procfs={self._processes}"]

    def set_available_memory(self, share: float) -> None:
        self._write("meminfo", f"MemTotal: 1000000 kB\nMemAvailable: {share * 1_000_000:.0f} kB\n")

    def set_file_system(self, path: Path | str, kind: str) -> None:
        self._write("1/mounts", f"device {path} {kind} rw 0 0\n")

    def hide_file_systems(self) -> None:
        self._write("1/mounts", "")

    def set_container_memory(self, share: float) -> None:
        """Report a container as cAdvisor does, which needs Docker. It uses `share` of its limit."""
        values = {
            "container_memory_working_set_bytes": share * 1e9,
            "container_memory_total_active_file_bytes": 0,
            "container_spec_memory_limit_bytes": 1e9,
        }
        self._write("container.prom", "".join(f'{name}{{name="app"}} {value:.0f}\n' for name, value in values.items()))

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
    phone: Phone | None  # None: people have their own, whose messages we do not see
    conditions: Conditions = USUAL
    # Set by the fault that uses it, until it ends.
    before: dict[str, Any] = field(default_factory=dict)
    sessions: list[psycopg.Connection] = field(default_factory=list)
    replica: Any = None
    broken: threading.Event = field(default_factory=threading.Event)
    more: ExitStack = field(default_factory=ExitStack)

    @property
    def gateway(self) -> Simulator:
        return self.own.gateway

    def alerts(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts in Prometheus, none while it does not answer.

        Every wait of a drill asks, so an interruption ends the drill here: signals reach only the main thread.
        """
        interruption.check()
        try:
            return ask(self.monitoring.prometheus, "alerts")["alerts"]
        except (OSError, http.client.HTTPException):
            return []

    def firing(self) -> set[str]:
        """Return the firing alerts in Prometheus, notified or suppressed."""
        return {alert["labels"]["alertname"] for alert in self.alerts() if alert["state"] == "firing"}

    def execute(self, *statements: str) -> None:
        """Execute statements as a superuser, in one session."""
        with psycopg.connect(self.own.server.url("postgres", "fintech"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def hold(self, statement: str) -> None:
        """Execute a statement as a superuser, and keep its session until `release`: a lock ends with it."""
        session = self.stack.enter_context(psycopg.connect(self.own.server.url("postgres", "fintech"), autocommit=True))
        session.execute(statement.encode())
        self.sessions.append(session)

    def release(self) -> None:
        while self.sessions:
            self.sessions.pop().close()

    def wait_until_calm(self) -> None:
        """Wait until all metrics exist, the heartbeat has arrived, and no other alert is firing or pending."""

        def calm() -> bool:
            names = {alert["labels"]["alertname"] for alert in self.alerts()}
            return names == {ALWAYS} and ALWAYS in self.received("firing", since=0)

        # Below the usual speed, windows that are still full of the time before need longer.
        seconds = max(120, 10 * self.conditions.minute)
        wait_until(calm, seconds, lambda: f"calm before the drill: {self.alerts()}", interval=0.2)

    def fired(self, *, since: float) -> set[str]:
        """Return the alerts, except the heartbeat, that started at `since` or later and arrived as firing."""
        return self.received("firing", since=since).keys() - {ALWAYS, RECORD}

    def arrived(self, *, since: float, expected: str | None) -> set[str]:
        """Return the alerts that arrived as firing, with the heartbeat only if it is expected."""
        heartbeat = {ALWAYS} & self.received("firing", since=since).keys() if expected == ALWAYS else set()
        return self.fired(since=since) | heartbeat

    def delivery(self, alertname: str, *, since: float) -> int:
        """Return the first delivery with this firing alert."""
        rows = self.own.query("SELECT id, body FROM alerts_audit_delivery ORDER BY id")
        return next(
            number
            for number, body in rows
            for alert in alerts_in(bytes(body))
            if alert["labels"]["alertname"] == alertname and began(alert) >= since
        )

    def received(self, status: str, *, since: float, after: float = 0) -> dict[str, float]:
        """Return when each alert that started at `since` or later first arrived after `after`, in seconds since 1970.

        Empty while the database is unavailable.
        """
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
            if alert["status"] == status and began(alert) >= since and at > after
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
def running_drill(directory: Path, conditions: Conditions = USUAL) -> Iterator[Drill]:
    with ExitStack() as stack:
        monitoring = Monitoring(directory, conditions.speed, scrape_seconds=conditions.scrape_seconds)
        env = {**QUICK, **(monitoring.peers if conditions.watched else {}), **conditions.env}
        # As durable as in production: a commit lost by a stopped database would be a difference to the gateway's books.
        own = stack.enter_context(own_platform(directory, postgres={}, workers=2, env=env))
        # Alerts on this machine's own disks and memory are not part of the drill.
        machine = Machine(directory / "machine")
        exporters = {**EXPORTERS, "node": machine.exporter}
        if conditions.history:
            monitoring.back_fill(conditions.history())
        phone = stack.enter_context(ringing_phone())
        jobs = monitoring.start(
            stack, own, exporters=exporters, keeps=stack, telegram=phone.telegram, change=conditions.change
        )
        sent = Traffic(own)
        if conditions.with_traffic:
            stack.enter_context(sent)
        yield Drill(own, sent, monitoring, machine, jobs, stack, phone, conditions)
