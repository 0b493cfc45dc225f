"""The background process: resolves unknown outcomes, folds the journal, and exports what the rows say.

Each job runs in a thread of its own, so that a slow one holds up no other. Several workers may run: they share the
resolving, and the one that holds the leader lock exports the gauges.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection
from prometheus_client import REGISTRY, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fintech.metrics import EpochCollector, slot
from fintech.problems import DATABASE_AWAY
from payments import kpis, metrics
from payments.currencies import to_major
from payments.gateway import GatewayError, gateway
from payments.models import Transaction
from payments.services.resolution import resolve_due
from payments.writer import writer

logger = logging.getLogger("payments.worker")

LEADER_LOCK = 0x7061796D656E7473  # "payments", for pg_try_advisory_lock
RESOLVER_THREADS = 8

JOB_ERRORS = Counter("worker_job_errors_total", "Turns of a job that failed.", ["job"])
JOB_SUCCESS = Gauge("worker_job_last_success_timestamp_seconds", "When a job last succeeded.", ["job"])
# What may be away for a while without being our fault.
EXPECTED = (*DATABASE_AWAY, GatewayError, kpis.ScrapeError)


@dataclass
class Job:
    """Something to do every `seconds`; failures are counted, logged and tried again at the next turn."""

    name: str
    seconds: float
    run: Callable[[], Any]

    def loop(self, stop: threading.Event) -> None:
        JOB_ERRORS.labels(self.name)
        while not stop.is_set():
            start = time.monotonic()
            try:
                self.run()
                JOB_SUCCESS.labels(self.name).set_to_current_time()
            except Exception as error:
                JOB_ERRORS.labels(self.name).inc()
                trace = None if isinstance(error, EXPECTED) else error
                logger.warning("job_failed", exc_info=trace, extra={"job": self.name, "error": str(error)[:200]})
            finally:
                connection.close()
            stop.wait(max(0.0, self.seconds - (time.monotonic() - start)))


@dataclass
class LedgerView:
    """What the leader last read. Exported as long as it leads; a series that nobody refreshes would be a lie."""

    leading: bool = False
    totals: kpis.Totals = field(default_factory=kpis.Totals)
    unresolved: tuple[int, float] = (0, 0.0)
    drift: kpis.Drift | None = None
    gateway_drift: dict[str, int] | None = None


class LedgerCollector(Collector):
    """`ledger_*`, `unresolved_*`, `kpi_drift` and `gateway_drift`."""

    def __init__(self, view: LedgerView) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        view = self._view
        if not view.leading:
            return
        transactions = CounterMetricFamily("ledger_transactions", "Committed final payments.", labels=["status"])
        for status in Transaction.FINAL:
            transactions.add_metric([status], view.totals.count.get(status, 0))
        amounts = CounterMetricFamily("ledger_amount", "Posted amounts, in major units.", labels=["currency"])
        for currency in sorted({*settings.KPI_CURRENCIES, *view.totals.amount}):
            amounts.add_metric([currency], to_major(view.totals.amount.get(currency, 0), currency))
        yield transactions
        yield amounts
        number, oldest = view.unresolved
        yield GaugeMetricFamily("unresolved_transactions", "Payments and refunds that are not final.", value=number)
        yield GaugeMetricFamily("unresolved_oldest_seconds", "Age of the oldest of them.", value=oldest)
        if view.drift is not None:
            yield self._drift(view.drift)
        if view.gateway_drift is not None:
            family = GaugeMetricFamily(
                "gateway_drift", "Charged by the gateway minus the ledger, in minor units.", labels=["currency"]
            )
            for currency in sorted({*settings.KPI_CURRENCIES, *view.gateway_drift}):
                family.add_metric([currency], view.gateway_drift.get(currency, 0))
            yield family

    @staticmethod
    def _drift(drift: kpis.Drift) -> Metric:
        family = GaugeMetricFamily("kpi_drift", "Rows minus counters: payments, or minor units of revenue.")
        for status, value in sorted(drift.transactions.items()):
            family.add_sample("kpi_drift", {"kpi": "transactions", "status": status}, value)
        for currency, value in sorted(drift.revenue.items()):
            family.add_sample("kpi_drift", {"kpi": "revenue", "currency": currency}, value)
        return family


class Worker:
    """Runs the jobs until `stop` is set."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._view = LedgerView()
        self._folder = kpis.Folder()
        self._resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
        for histogram in (metrics.LATENCY, metrics.OWN):
            REGISTRY.unregister(histogram)  # the web's alone: here they would be a second, empty series
        REGISTRY.register(LedgerCollector(self._view))
        REGISTRY.register(EpochCollector(slot().name))
        self._jobs = [
            Job("resolve", 0.5, lambda: resolve_due(self._resolvers)),
            Job("ledger", 2, self._read_ledger),
            Job("drift", 5, self._measure_drift),
            Job("gateway_drift", 10, self._measure_gateway_drift),
            Job("fold", 15, self._fold),
            Job("writer", 5, writer.warm_up),  # counters are right at start, and again after a lost connection
        ]

    def run(self) -> None:
        threads = [threading.Thread(target=job.loop, args=[self.stop], name=job.name) for job in self._jobs]
        leader = threading.Thread(target=self._lead, name="leader")
        for thread in (leader, *threads):
            thread.start()
        for thread in (*threads, leader):
            thread.join()
        self._resolvers.shutdown()

    def _lead(self) -> None:
        """Hold the leader lock, or wait for it. It belongs to this thread's session and ends with it."""
        while not self.stop.is_set():
            try:
                with connection.cursor() as cursor:
                    if not self._view.leading:
                        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LEADER_LOCK])
                        if cursor.fetchone()[0]:
                            self._view.leading = True
                            logger.info("leading")
                    else:
                        cursor.execute("SELECT 1")  # a lost session is a lost lock
            except DATABASE_AWAY:
                self._view.leading = False
                connection.close()
            self.stop.wait(1)
        self._view.leading = False
        connection.close()

    def _read_ledger(self) -> None:
        if self._view.leading:
            self._view.totals, self._view.unresolved = kpis.ledger_totals(), kpis.unresolved()

    def _measure_drift(self) -> None:
        if self._view.leading:
            try:
                self._view.drift = kpis.measure_drift(self._read_counters)
            except Exception:
                self._view.drift = None  # what cannot be measured is not 0
                raise

    def _measure_gateway_drift(self) -> None:
        if self._view.leading:
            try:
                self._view.gateway_drift = kpis.measure_gateway_drift(gateway())
            except Exception:
                self._view.gateway_drift = None
                raise

    def _fold(self) -> None:
        if self._view.leading:
            self._folder.fold()

    @staticmethod
    def _read_counters() -> kpis.Counters:
        counters = kpis.Counters()
        counters.add(kpis.scrape(settings.WEB_METRICS_URL))
        counters.add(generate_latest(REGISTRY).decode())
        return counters
