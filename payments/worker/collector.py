"""The metrics that the worker reads from the rows: `ledger_*`, `unresolved_*`, `webhook_*`, the drifts, and counters of
hosts that have gone.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from django.conf import settings
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fintech.jobs import Leader
from fintech.telemetry.families import counters, gauge, gauges
from payments import metrics
from payments.currencies import to_major
from payments.kpis.drift import Drift
from payments.kpis.gauges import WaitingReviews
from payments.kpis.scrape import RETIRED
from payments.kpis.totals import OPERATION_COUNTERS, Totals
from payments.states import CHARGE, DISPUTE
from payments.webhooks.backlog import STATES, Backlog


@dataclass
class LedgerTotals:
    """The rows of one reading."""

    totals: Totals
    retired: Totals
    unresolved: tuple[int, float]
    held: dict[str, int]
    challenges: int


@dataclass
class LedgerView:
    """The values that the leader read last. None is a value that is not known, and not exported.

    No other process refreshes them: they are exported only while this worker leads, and each lead begins without any.
    """

    ledger: LedgerTotals | None = None
    drift: Drift | None = None
    gateway_drift: dict[str, int] | None = None
    imbalance: dict[str, int] | None = None
    webhooks: Backlog | None = None
    disputes: tuple[dict[str, int], tuple[int, datetime | None]] | None = None
    reviews: WaitingReviews | None = None
    gateway_events: tuple[int, float] | None = None

    def clear(self) -> None:
        for value in fields(self):
            setattr(self, value.name, None)


RETIRED_COUNTERS = (
    metrics.TRANSACTIONS,
    metrics.AMOUNT,
    metrics.UNKNOWN_OUTCOMES,
    metrics.AUTHORIZATIONS,
    metrics.AUTHENTICATIONS,
    metrics.CAPTURES,
    metrics.VOIDS,
)


class WithRetired(Collector):
    """This worker's counters, and in the leader those of hosts that have gone for good, read from the rows.

    A retired series never changes: it is labelled by a digest of its values, so another value is another series. rate()
    therefore sees no increase when a host is retired, and the sum over all instances stays that of the rows.
    """

    def __init__(self, view: LedgerView, leader: Leader) -> None:
        self._view, self._leader = view, leader

    def collect(self) -> Iterator[Metric]:
        ledger = self._view.ledger if self._leader.leading else None
        retired = self._samples(ledger.retired) if ledger is not None else []
        for counter in RETIRED_COUNTERS:
            for family in counter.collect():
                for name, labels, value in retired:
                    if name.startswith(f"{family.name}_"):
                        family.add_sample(name, labels, value)
                yield family

    @staticmethod
    def _samples(totals: Totals) -> list[tuple[str, dict[str, str], float]]:
        found: list[tuple[str, dict[str, str], float]]
        found = [("transactions_total", {"status": status}, count) for status, count in totals.count.items()]
        for name, (prefix, statuses) in OPERATION_COUNTERS.items():
            operations = totals.operations
            found += [(f"{name}_total", {"status": one}, operations.get(prefix + one, 0)) for one in statuses]
        found.append(("unknown_outcomes_total", {}, totals.unknown))
        for currency, amount in totals.amount.items():
            found.append(("transaction_amount_sum", {"currency": currency}, to_major(amount, currency)))
            found.append(("transaction_amount_count", {"currency": currency}, totals.sales.get(currency, 0)))
        found = [sample for sample in found if sample[2]]
        digest = hashlib.sha256(repr(sorted(found, key=repr)).encode()).hexdigest()[:12]
        return [(name, {**labels, RETIRED: digest}, float(value)) for name, labels, value in found]


class LedgerCollector(Collector):
    """Exports a view: only values that are known, and only in the leader."""

    def __init__(self, view: LedgerView, leader: Leader) -> None:
        self._view, self._leader = view, leader

    def collect(self) -> Iterator[Metric]:
        view = self._view
        if not self._leader.leading:
            return
        if view.ledger is not None:
            yield from self._ledger(view.ledger)
        if view.gateway_events is not None:
            yield from self._gateway_events(*view.gateway_events)
        if view.webhooks is not None:
            yield from self._webhooks(view.webhooks)
        if view.disputes is not None:
            yield from self._disputes(*view.disputes)
        if view.reviews is not None:
            yield from self._reviews(view.reviews)
        if view.drift is not None:
            yield from self._drift(view.drift)
        if view.gateway_drift is not None:
            text = "Charged by the gateway minus the ledger, in minor units."
            yield by_currency(gauges, "gateway_drift", text, view.gateway_drift)
        if view.imbalance is not None:
            yield by_currency(gauges, "ledger_imbalance", "Sum of all ledger legs, in minor units.", view.imbalance)

    @staticmethod
    def _ledger(ledger: LedgerTotals) -> Iterator[Metric]:
        totals = ledger.totals
        yield counters("ledger_transactions", "Committed final payments.", "status", CHARGE.final, totals.count)
        yield by_currency(counters, "ledger_amount", "Posted amounts, in major units.", in_major_units(totals.amount))
        text = "Authorized amounts that are neither captured nor released, in major units."
        yield by_currency(gauges, "authorized_not_captured_amount", text, in_major_units(ledger.held))
        number, oldest = ledger.unresolved
        yield gauge("unresolved_transactions", "Operations that have no outcome yet.", number)
        yield gauge("unresolved_oldest_seconds", "Age of the oldest one.", oldest)
        text = "Payments whose customer has been asked to authenticate, and still has time."
        yield gauge("open_challenges", text, ledger.challenges)

    @staticmethod
    def _gateway_events(waiting: int, oldest: float) -> Iterator[Metric]:
        yield gauge("gateway_events_waiting", "Stored events that are not applied yet.", waiting)
        yield gauge("gateway_event_oldest_waiting_seconds", "Age of the oldest one.", oldest)

    @staticmethod
    def _disputes(by_state: dict[str, int], to_answer: tuple[int, datetime | None]) -> Iterator[Metric]:
        yield counters("disputes", "Disputes that came into a state, by state.", "state", DISPUTE.states, by_state)
        number, earliest = to_answer
        text = "Disputes that still can have a response, and whose response the gateway has not taken."
        yield gauge("disputes_awaiting_response", text, number)
        if earliest is not None:
            text = "When the earliest response is due."
            yield gauge("dispute_response_due_timestamp_seconds", text, earliest.timestamp())

    @staticmethod
    def _reviews(reviews: WaitingReviews) -> Iterator[Metric]:
        yield gauge("reviews_waiting", "Payments in review without a decision.", reviews.number)
        yield gauge("review_oldest_waiting_seconds", "Age of the oldest one.", reviews.oldest_seconds)
        text = "Amounts of payments in review without a decision, in major units."
        yield by_currency(gauges, "reviews_waiting_amount", text, in_major_units(reviews.amounts))
        if reviews.earliest_expiry is not None:
            text = "When the earliest authorization of a payment in review expires."
            yield gauge("review_expiry_timestamp_seconds", text, reviews.earliest_expiry.timestamp())

    @staticmethod
    def _webhooks(backlog: Backlog) -> Iterator[Metric]:
        yield gauge("webhook_pending_deliveries", "Webhooks that wait for their delivery.", backlog.pending)
        text = "Age of the oldest webhook that should be under way and is not."
        yield gauge("webhook_oldest_waiting_seconds", text, backlog.oldest_seconds)
        yield gauges("webhook_endpoints", "Webhook endpoints by state.", "state", STATES, backlog.endpoints)

    @staticmethod
    def _drift(drift: Drift) -> Iterator[Metric]:
        family = GaugeMetricFamily("kpi_drift", "Rows minus counters: payments, or minor units of revenue.")
        for status, value in sorted(drift.transactions.items()):
            family.add_sample("kpi_drift", {"kpi": "transactions", "status": status}, value)
        for currency, value in sorted(drift.revenue.items()):
            family.add_sample("kpi_drift", {"kpi": "revenue", "currency": currency}, value)
        yield family
        operations = GaugeMetricFamily(
            "operation_drift",
            "Rows minus counters: authorizations, authentications, captures, voids.",
            labels=["kpi", "status"],
        )
        for name, (prefix, statuses) in OPERATION_COUNTERS.items():
            for status in statuses:
                operations.add_metric([name, status], drift.operations.get(prefix + status, 0))
        yield operations
        text = "Epochs of connected processes that no scrape has, so that their counters are not compared."
        yield gauge("kpi_unseen_epochs", text, drift.unseen_epochs)


def by_currency(family: Callable[..., Metric], name: str, documentation: str, amounts: Mapping[str, float]) -> Metric:
    """Return one sample for each currency of the settings, and of the amounts."""
    return family(name, documentation, "currency", sorted({*settings.KPI_CURRENCIES, *amounts}), amounts)


def in_major_units(amounts: Mapping[str, int]) -> dict[str, float]:
    return {currency: to_major(amount, currency) for currency, amount in amounts.items()}
