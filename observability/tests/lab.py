"""Run the whole platform under real monitoring for half a minute, and query its Prometheus afterwards.

Gunicorn, exporter, worker and gateway simulator serve payments that succeed, are declined, blocked, fail, end unknown,
are refunded, repeated and refused. Prometheus scrapes them, Alertmanager, itself, and the exporters that are installed,
and evaluates the rules. Then everything except Prometheus is stopped. Queries are evaluated at the end of the traffic,
so their results do not depend on the duration of the tests.
"""

import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

from django.conf import settings

from alerts_audit.tests.payloads import alertmanager_body
from fintech.testing.databases import FAST
from fintech.testing.processes import Load
from loadtests.drill.monitoring import EXPORTERS, Monitoring, ask
from payments.tests.own_platform import OwnPlatform, own_platform

# The shortest windows of rules and panels, 5 minutes, become ten seconds.
SPEED = 30
TRAFFIC_SECONDS = 25
# Queries cover this period at the end of the traffic.
LOOK_BACK_SECONDS = 8

# The worker's intervals, accelerated like the rules.
QUICK = {"AUDIT_SEAL_SECONDS": "2", "AUDIT_VERIFY_SECONDS": "5", "ALERT_POLL_SECONDS": "1"}

# The last three digits choose the simulator's outcome (docs/gateway.md).
AMOUNTS = (10_00, 25_50, 7_77, 19_99, 12_901, 31_902, 19_911, 15_912, 21_913, 18_922)
# An unknown client that traces its requests; the id is W3C's example.
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CURRENCIES = ("EUR", "EUR", "USD", "GBP", "JPY", "KWD")


@dataclass
class Lab:
    """A Prometheus with half a minute of traffic, which ended at `until` (seconds since 1970).

    `directory` contains the programs' logs. `jobs` are the scraped jobs, `metrics` the names of all series, `rules`
    and `targets` their state at the end.
    """

    port: int
    directory: Path
    until: float
    jobs: frozenset[str]
    metrics: frozenset[str]
    rules: list[dict[str, Any]]
    targets: list[dict[str, Any]]

    def label_values(self, series: str, label: str) -> list[str]:
        """Return the values that Grafana offers for a variable `label_values(series, label)`."""
        return ask(self.port, f"label/{label}/values", **{"match[]": series})

    def values(self, expression: str) -> list[float]:
        """Return the numbers that a panel would show at the end of the traffic, without NaN."""
        span = {"start": self.until - LOOK_BACK_SECONDS, "end": self.until, "step": 1}
        answer = ask(self.port, "query_range", query=expression, **span)
        numbers = [float(value) for series in answer["result"] for _, value in series["values"]]
        return [number for number in numbers if not isnan(number)]


class Traffic(Load):
    """Requests of merchants, unknown clients and Alertmanager, in turns, until the block ends."""

    def __init__(self, own: OwnPlatform) -> None:
        super().__init__([partial(self._run, turn) for turn in range(3)])
        self._platform, self._api_key = own.platform, own.api_key

    def _run(self, turn: int) -> None:
        for number in itertools.count(turn):
            if self.stopped.wait(0.2):
                return
            amount, currency = AMOUNTS[number % len(AMOUNTS)], CURRENCIES[number % len(CURRENCIES)]
            payment = self._pay(secrets.token_hex(12), amount=amount, currency=currency)
            if number % 10 == 0:
                self._do_what_is_rare(payment)

    def _pay(self, key: str, *, token: str = "tok_visa", **body: object) -> dict[str, Any]:
        body["payment_method"] = {"type": "card", "token": token, "country": "DE"}
        return self._post("/v1/transactions", body, key)

    def _post(self, path: str, body: object, key: str | None = None) -> dict[str, Any]:
        return self._platform.request("POST", path, body, api_key=self._api_key, key=key).body

    def _do_what_is_rare(self, payment: dict[str, Any]) -> None:
        """Send one of each: fraud block, replay, mismatch, refund, batch, unknown client, alert."""
        key = secrets.token_hex(12)
        self._pay(key, amount=10_00, currency="EUR", token="tok_fraud")
        self._pay(key, amount=10_00, currency="EUR", token="tok_fraud")
        self._pay(key, amount=11_00, currency="EUR", token="tok_fraud")
        self._post(f"/v1/transactions/{payment['id']}/refunds", {"amount": 1}, secrets.token_hex(12))
        item = {"idempotency_key": secrets.token_hex(12), "amount": 10_00, "currency": "EUR"}
        self._post("/v1/transactions/batch", {"items": [item]})
        self._platform.request("GET", "/v1/transactions", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"})
        self._platform.request("GET", "/v1/transactions?limit=5", api_key=self._api_key)
        headers = {"Authorization": f"Bearer {settings.ALERT_TOKEN}"}
        self._platform.request("POST", "/alert", alertmanager_body("Lab"), headers=headers)
        self._platform.request("POST", "/alert", alertmanager_body("Stranger"))


@contextmanager
def running_lab(directory: Path) -> Iterator[Lab]:
    monitoring = Monitoring(directory, SPEED)
    prometheus = monitoring.prometheus
    with ExitStack() as kept:
        with ExitStack() as platform:
            jobs = start_platform(platform, directory, monitoring, kept)
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


def start_platform(stack: ExitStack, directory: Path, monitoring: Monitoring, keeps: ExitStack) -> frozenset[str]:
    """Start everything until `stack` closes, Prometheus until `keeps` closes. Return the scraped jobs."""
    own = stack.enter_context(own_platform(directory, postgres=FAST, workers=2, env={**QUICK, **monitoring.peers}))
    exporters = monitoring.start(stack, own, exporters=EXPORTERS, keeps=keeps)
    stack.enter_context(Traffic(own))
    always = ["web", "worker", "alertmanager", "prometheus"]
    return frozenset([*always, *exporters, *(["probe"] if "blackbox" in exporters else [])])
