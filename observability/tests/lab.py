"""The whole platform under real monitoring for half a minute, and what Prometheus remembers of it afterwards.

Gunicorn, exporter, worker and gateway simulator serve payments that succeed, are declined, blocked, fail, end unknown,
are refunded, repeated and refused. Prometheus scrapes them, Alertmanager, itself, and the exporters that are installed,
and evaluates the rules. Then all but Prometheus is stopped: queries are asked as of the last moments of the traffic, so
their answers stay the same however long the tests take.
"""

import itertools
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from alerts_audit.tests.payloads import alertmanager_body
from fintech.testing import answers, free_port, request, running
from observability.render import HERE, alertmanager_command, prometheus_command, render
from payments.tests.own_platform import OwnPlatform, own_platform

# The shortest windows of rules and panels, 5 minutes, become ten seconds.
SPEED = 30
TRAFFIC_SECONDS = 25
# Queries look at this much of the traffic's end.
LOOK_BACK_SECONDS = 8

# The trail's worker at the speed of the rest; the database is thrown away.
QUICK = {"AUDIT_SEAL_SECONDS": "2", "AUDIT_VERIFY_SECONDS": "5", "ALERT_POLL_SECONDS": "1"}
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# The last three digits choose the simulator's outcome (docs/gateway.md).
AMOUNTS = (10_00, 25_50, 7_77, 19_99, 12_901, 31_902, 19_911, 15_912, 21_913, 18_922)
# A stranger who traces its requests; the id is W3C's example.
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CURRENCIES = ("EUR", "EUR", "USD", "GBP", "JPY", "KWD")

# Job -> command of an exporter, without its address; the programs' names are Debian's.
EXPORTERS = {
    "node": ["prometheus-node-exporter"],
    "postgres": ["prometheus-postgres-exporter"],
    "blackbox": ["prometheus-blackbox-exporter", f"--config.file={HERE / 'blackbox' / 'blackbox.yml'}"],
}


@dataclass
class Lab:
    """A Prometheus that holds half a minute of traffic, which ended at `until` (seconds since 1970).

    `directory` has the programs' logs; `jobs` were scraped; `metrics` are the names of all series; `rules` and
    `targets` are as they were at the end.
    """

    port: int
    directory: Path
    until: float
    jobs: frozenset[str]
    metrics: frozenset[str]
    rules: list[dict[str, Any]]
    targets: list[dict[str, Any]]

    def label_values(self, series: str, label: str) -> list[str]:
        """What Grafana offers for a variable that is `label_values(series, label)`."""
        return ask(self.port, f"label/{label}/values", **{"match[]": series})

    def values(self, expression: str) -> list[float]:
        """The numbers that a panel would show of the traffic's end; what is not a number is left out."""
        span = {"start": self.until - LOOK_BACK_SECONDS, "end": self.until, "step": 1}
        answer = ask(self.port, "query_range", query=expression, **span)
        numbers = [float(value) for series in answer["result"] for _, value in series["values"]]
        return [number for number in numbers if not isnan(number)]


def ask(prometheus: int, path: str, **parameters: object) -> Any:
    """The data of an answer of Prometheus's API."""
    reply = request(prometheus, "GET", f"/api/v1/{path}?{urlencode(parameters)}")
    assert reply.status == 200, f"{parameters}: {reply.body}"
    return reply.body["data"]


class Traffic:
    """What merchants, strangers and Alertmanager send, in turns, until the block ends."""

    def __init__(self, own: OwnPlatform) -> None:
        self._platform, self._api_key = own.platform, own.api_key
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[turn]) for turn in range(3)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, turn: int) -> None:
        for number in itertools.count(turn):
            if self._stopped.wait(0.1):
                return
            amount, currency = AMOUNTS[number % len(AMOUNTS)], CURRENCIES[number % len(CURRENCIES)]
            payment = self._pay(secrets.token_hex(8), amount=amount, currency=currency)
            if number % 10 == 0:
                self._do_what_is_rare(payment)

    def _pay(self, key: str, *, token: str = "tok_visa", **body: object) -> dict[str, Any]:
        body["payment_method"] = {"type": "card", "token": token, "country": "DE"}
        return self._post("/v1/transactions", body, key)

    def _post(self, path: str, body: object, key: str | None = None) -> dict[str, Any]:
        return self._platform.request("POST", path, body, api_key=self._api_key, key=key).body

    def _do_what_is_rare(self, payment: dict[str, Any]) -> None:
        """A block, a repetition, a mismatch, a refund, a batch, a stranger, an alert."""
        key = secrets.token_hex(8)
        self._pay(key, amount=10_00, currency="EUR", token="tok_fraud")
        self._pay(key, amount=10_00, currency="EUR", token="tok_fraud")
        self._pay(key, amount=11_00, currency="EUR", token="tok_fraud")
        self._post(f"/v1/transactions/{payment['id']}/refunds", {"amount": 1}, secrets.token_hex(8))
        item = {"idempotency_key": secrets.token_hex(8), "amount": 10_00, "currency": "EUR"}
        self._post("/v1/transactions/batch", {"items": [item]})
        self._platform.request("GET", "/v1/transactions", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"})
        self._platform.request("GET", "/v1/transactions?limit=5", api_key=self._api_key)
        headers = {"Authorization": f"Bearer {settings.ALERT_TOKEN}"}
        self._platform.request("POST", "/alert", alertmanager_body("Lab"), headers=headers)
        self._platform.request("POST", "/alert", alertmanager_body("Stranger"))


@contextmanager
def running_lab(directory: Path) -> Iterator[Lab]:
    prometheus = free_port()
    with ExitStack() as monitoring:
        with ExitStack() as platform:
            jobs = start_platform(platform, monitoring, directory, prometheus)
            time.sleep(TRAFFIC_SECONDS)
            lab = Lab(
                port=prometheus,
                directory=directory,
                until=time.time(),
                jobs=jobs,
                metrics=frozenset(ask(prometheus, "label/__name__/values")),
                rules=ask(prometheus, "rules")["groups"],
                targets=ask(prometheus, "targets")["activeTargets"],
            )
        yield lab


def start_platform(stack: ExitStack, monitoring: ExitStack, directory: Path, prometheus: int) -> frozenset[str]:
    """Everything, until `stack` ends; Prometheus until `monitoring` does. The jobs that are scraped."""
    alertmanager, address = free_port(), "127.0.0.1:{}".format
    peers = {"ALERTMANAGER_URL": f"http://{address(alertmanager)}", "PROMETHEUS_URL": f"http://{address(prometheus)}"}
    own = stack.enter_context(own_platform(directory, postgres=FAST, workers=2, env={**QUICK, **peers}))
    database = own.server.url("postgres", "fintech")
    exporters = {job: port for job in EXPORTERS if (port := start_exporter(stack, job, directory, database))}
    (directory / "alert_token").write_text(settings.ALERT_TOKEN)
    folder = directory / "monitoring"
    render(
        folder,
        web_target=address(own.platform.metrics_port),
        worker_target=address(own.platform.worker_port),
        alertmanager_target=address(alertmanager),
        webhook_url=f"{own.platform.url}/alert",
        token_file=directory / "alert_token",
        other_targets={job: address(port) for job, port in {"prometheus": prometheus, **exporters}.items()},
        probes={"web": f"{own.platform.url}/ready"},
        interval_seconds=1,
        speed=SPEED,
    )
    first = alertmanager_command(folder, directory / "alertmanager", address(alertmanager))
    second = prometheus_command(folder, directory / "prometheus", address(prometheus), speed=SPEED)
    assert first
    assert second
    ready = partial(answers, alertmanager, "/-/ready")
    stack.enter_context(running(first, log=directory / "alertmanager.log", ready=ready))
    ready = partial(answers, prometheus, "/-/ready")
    monitoring.enter_context(running(second, log=directory / "prometheus.log", ready=ready))
    stack.enter_context(Traffic(own))
    always = ["web", "worker", "alertmanager", "prometheus"]
    return frozenset([*always, *exporters, *(["probe"] if "blackbox" in exporters else [])])


def start_exporter(stack: ExitStack, job: str, directory: Path, database: str) -> int | None:
    """Its port, or nothing when it is not installed."""
    if shutil.which(EXPORTERS[job][0]) is None:
        return None
    port = free_port()
    command = [*EXPORTERS[job], f"--web.listen-address=127.0.0.1:{port}"]
    ready = partial(answers, port, "/metrics")
    stack.enter_context(running(command, {"DATA_SOURCE_NAME": database}, log=directory / f"{job}.log", ready=ready))
    return port
