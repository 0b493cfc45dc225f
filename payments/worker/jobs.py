"""The payments' worker jobs: resolve unknown outcomes, advance the rollup, and export metrics from the rows.

Several workers share the resolving; the leader exports the metrics.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from django.conf import settings
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fintech.jobs import Job, Leader, Worker
from fintech.telemetry.metric_slots import EpochCollector, slot
from payments import kpis, metrics
from payments.currencies import to_major
from payments.gateway.client import gateway
from payments.ledger.balance import Balance
from payments.models import Transaction
from payments.services.resolution import resolve_due
from payments.settlement.group_commit import writer

RESOLVER_THREADS = 8


@dataclass
class LedgerView:
    """The last values that the leader read. Exported while it leads, because stale values would be wrong."""

    totals: kpis.Totals = field(default_factory=kpis.Totals)
    unresolved: tuple[int, float] = (0, 0.0)
    drift: kpis.Drift | None = None
    gateway_drift: dict[str, int] | None = None
    imbalance: dict[str, int] | None = None


class LedgerCollector(Collector):
    """`ledger_*`, `unresolved_*`, and, while they are known, `kpi_drift`, `gateway_drift` and `ledger_imbalance`."""

    def __init__(self, view: LedgerView, leader: Leader) -> None:
        self._view, self._leader = view, leader

    def collect(self) -> Iterator[Metric]:
        view = self._view
        if not self._leader.leading:
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
        yield GaugeMetricFamily("unresolved_oldest_seconds", "Age of the oldest one.", value=oldest)
        if view.drift is not None:
            yield self._drift(view.drift)
        if view.gateway_drift is not None:
            yield self._by_currency(
                "gateway_drift", "Charged by the gateway minus the ledger, in minor units.", view.gateway_drift
            )
        if view.imbalance is not None:
            yield self._by_currency("ledger_imbalance", "Sum of all ledger legs, in minor units.", view.imbalance)

    @staticmethod
    def _by_currency(name: str, documentation: str, amounts: dict[str, int]) -> Metric:
        family = GaugeMetricFamily(name, documentation, labels=["currency"])
        for currency in sorted({*settings.KPI_CURRENCIES, *amounts}):
            family.add_metric([currency], amounts.get(currency, 0))
        return family

    @staticmethod
    def _drift(drift: kpis.Drift) -> Metric:
        family = GaugeMetricFamily("kpi_drift", "Rows minus counters: payments, or minor units of revenue.")
        for status, value in sorted(drift.transactions.items()):
            family.add_sample("kpi_drift", {"kpi": "transactions", "status": status}, value)
        for currency, value in sorted(drift.revenue.items()):
            family.add_sample("kpi_drift", {"kpi": "revenue", "currency": currency}, value)
        return family


class LedgerJobs:
    """Reads the rows for the collector."""

    def __init__(self) -> None:
        self.view = LedgerView()
        self.folder = kpis.Folder()
        self.balance = Balance()

    def read_ledger(self) -> None:
        self.view.totals, self.view.unresolved = kpis.ledger_totals(), kpis.unresolved()

    def measure_drift(self) -> None:
        try:
            self.view.drift = kpis.measure_drift(self._read_counters)
        except Exception:
            self.view.drift = None  # a value that cannot be measured is not 0
            raise

    def measure_gateway_drift(self) -> None:
        try:
            self.view.gateway_drift = kpis.measure_gateway_drift(gateway())
        except Exception:
            self.view.gateway_drift = None
            raise

    def measure_balance(self) -> None:
        try:
            self.view.imbalance = self.balance.measure()
        except Exception:
            self.view.imbalance = None
            raise

    @staticmethod
    def _read_counters() -> kpis.Counters:
        counters = kpis.Counters()
        counters.add(kpis.scrape(settings.WEB_METRICS_URL))
        counters.add(generate_latest(REGISTRY).decode())
        return counters


def jobs(worker: Worker) -> list[Job]:
    for histogram in (metrics.LATENCY, metrics.OWN):
        REGISTRY.unregister(histogram)  # metrics of the web only: here they would be a second, empty series
    ledger = LedgerJobs()
    REGISTRY.register(LedgerCollector(ledger.view, worker.leader))
    REGISTRY.register(EpochCollector(slot().name))
    resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
    worker.at_end.append(resolvers.shutdown)
    # Its counters begin with the totals of the rows: after a scrape of 0, Prometheus would count all of it again.
    worker.before_metrics.append(writer.warm_up)
    return [
        Job("resolve", 0.5, lambda: resolve_due(resolvers)),
        Job("ledger", 2, ledger.read_ledger, leader=True),
        Job("drift", 5, ledger.measure_drift, leader=True),
        Job("gateway_drift", 10, ledger.measure_gateway_drift, leader=True),
        Job("balance", 5, ledger.measure_balance, leader=True),
        Job("fold", 15, ledger.folder.fold, leader=True),
        Job("writer", 5, writer.warm_up),  # counters are correct at the start, and after a lost connection
    ]
