"""The jobs of payments in the worker: resolve unknown outcomes, void what expired, deliver webhooks, read the gauges.

Several workers share the resolving and delivering; the leader exports the gauges.
"""

from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from prometheus_client import REGISTRY, generate_latest

from fintech.jobs import Job, Worker
from fintech.telemetry.host_registry import exporters
from fintech.telemetry.metric_slots import EpochCollector, slot
from payments import metrics
from payments.fraud.velocity import forget_expired
from payments.gateway.registry import gateways
from payments.gateway_events.inbox import process_due, waiting
from payments.kpis import drift, gateway_drift, gauges
from payments.kpis.retirement import Retirement
from payments.kpis.rollup import Rollup
from payments.kpis.scrape import Counters, ScrapeError, read_exporters
from payments.kpis.totals import ledger_totals, retired_totals
from payments.ledger.running_sums import Balance, OtherGateways
from payments.services.authorization_expiry import void_expired
from payments.services.challenges import poll_due
from payments.services.disputes import deliver_responses
from payments.services.resolution import resolve_due
from payments.storage import counter_recovery
from payments.storage.group_commit import writer
from payments.webhooks.backlog import read_backlog
from payments.webhooks.delivery import Deliverer
from payments.webhooks.endpoints import give_up_waiting
from payments.webhooks.outbox import Outbox
from payments.worker.collector import RETIRED_COUNTERS, LedgerCollector, LedgerTotals, LedgerView, WithRetired

RESOLVER_THREADS = 8


class LedgerJobs:
    """Read the rows for the collector."""

    def __init__(self) -> None:
        self.view = LedgerView()
        self.rollup = Rollup()
        self.begin_to_lead()

    def begin_to_lead(self) -> None:
        """Forget what another leader may have changed meanwhile."""
        self.view.clear()
        self.balance = Balance()
        self.other_gateways = OtherGateways() if len(gateways.names) > 1 else None

    def read_ledger(self) -> None:
        self.view.ledger = LedgerTotals(
            ledger_totals(), retired_totals(), gauges.unresolved(), gauges.held_amounts(), gauges.open_challenges()
        )

    def read_disputes(self) -> None:
        self.view.disputes = gauges.dispute_counts(), gauges.disputes_to_answer()

    def read_reviews(self) -> None:
        self.view.reviews = gauges.waiting_reviews()

    def read_gateway_events(self) -> None:
        self.view.gateway_events = waiting()

    def read_backlog(self) -> None:
        self.view.webhooks = read_backlog()

    def measure_drift(self) -> None:
        try:
            self.view.drift = drift.measure_drift(self._read_counters)
        except Exception:
            self.view.drift = None  # a value that cannot be measured is not 0
            raise

    def measure_gateway_drift(self) -> None:
        try:
            self.view.gateway_drift = gateway_drift.measure_gateway_drift(gateways.default(), self.other_gateways)
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
    def _read_counters() -> Counters:
        """Read the counters of every host that registered itself. Raise ScrapeError if none of them answers.

        One that does not answer is missing in the comparison, and counted by `kpi_unseen_epochs` while it is connected.
        """
        own = slot().epoch
        registered = [exporter.url for exporter in exporters() if exporter.epoch != own]
        counters, failed = read_exporters([*registered, *settings.OTHER_METRICS_URLS])
        if failed and not counters.by_epoch:
            raise ScrapeError("; ".join(failed))
        counters.add(generate_latest(REGISTRY).decode())
        return counters


def jobs(worker: Worker) -> list[Job]:
    for observations in (metrics.LATENCY, metrics.OWN):
        REGISTRY.unregister(observations.histogram)  # the web exports them; here they would be empty series
    ledger = LedgerJobs()
    worker.leader.before_leading.append(ledger.begin_to_lead)
    REGISTRY.register(LedgerCollector(ledger.view, worker.leader))
    for counter in RETIRED_COUNTERS:
        REGISTRY.unregister(counter)
    REGISTRY.register(WithRetired(ledger.view, worker.leader))
    REGISTRY.register(EpochCollector(slot().name))
    resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
    worker.at_end.append(resolvers.shutdown)
    outbox, deliverer = Outbox(), Deliverer()
    worker.at_end.append(deliverer.stop)
    # Counters begin with the totals of the rows: after a scrape of 0, Prometheus would count all of it again.
    worker.before_metrics.append(writer.restore_counters)
    return [
        Job("resolve", 0.5, lambda: resolve_due(resolvers)),
        Job("challenges", 1, lambda: poll_due(resolvers)),
        Job("gateway_events", 0.5, process_due, leader=True),
        Job("dispute_responses", 2, deliver_responses, leader=True),
        Job("expiry", 1, void_expired, leader=True),
        Job("ledger", 2, ledger.read_ledger, leader=True),
        Job("disputes", 5, ledger.read_disputes, leader=True),
        Job("reviews", 5, ledger.read_reviews, leader=True),
        Job("waiting_events", 5, ledger.read_gateway_events, leader=True),
        Job("webhooks", 5, ledger.read_backlog, leader=True),
        Job("drift", 5, ledger.measure_drift, leader=True),
        Job("gateway_drift", 10, ledger.measure_gateway_drift, leader=True),
        Job("balance", 5, ledger.measure_balance, leader=True),
        Job("retire", 15, Retirement().advance, leader=True),
        Job("forget", 15, forget_expired, leader=True),
        Job("fold", 15, ledger.rollup.advance, leader=True),
        Job("announce", 0.5, outbox.advance, leader=True),
        Job("deliver", 0.5, deliverer.start_turns),
        Job("give_up", 1, give_up_waiting, leader=True),
        Job("writer", 5, counter_recovery.recover),  # sets the counters at start, and after a lost connection
    ]
