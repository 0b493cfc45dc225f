"""The KPIs as the rows have them, and how far the counters are from that.

`kpi_drift` must be right while payments go on. Rows are counted before and after the counters are read: what was
committed before the first count has been counted by then (an increment follows its commit within milliseconds, and
the pause is longer), and what the counters hold has been committed by the second. So the true drift lies between
`before - counters` and `after - counters`, and the value nearest to zero between them is reported: at rest it is exact,
and under load it never cries wolf.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import urllib3
from django.db import connection
from django.db.transaction import atomic
from prometheus_client.parser import text_string_to_metric_families

from payments.currencies import to_minor
from payments.gateway import Gateway
from payments.models import Transaction

# Longer than an increment can lag behind its commit.
PAUSE_SECONDS = 0.25
# Events older than this are committed or never will be: statement_timeout is 5 s.
SETTLED_AFTER_SECONDS = 60

FOLD = """
WITH mark AS (SELECT id, event_id FROM payments_kpiwatermark FOR UPDATE),
upto AS (
    SELECT max(event.id) AS event_id FROM payments_event AS event, mark
    WHERE event.id > mark.event_id AND event.at < clock_timestamp() - make_interval(secs => %s)
), folded AS (
    INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
    SELECT writer_id, kind, currency, count(*), sum(amount) FROM payments_kpi_tail
    WHERE id <= (SELECT event_id FROM upto) GROUP BY 1, 2, 3
    ON CONFLICT (writer_id, kind, currency) DO UPDATE
        SET count = total.count + excluded.count, amount = total.amount + excluded.amount
)
UPDATE payments_kpiwatermark SET event_id = upto.event_id FROM upto, mark
WHERE payments_kpiwatermark.id = mark.id AND upto.event_id IS NOT NULL
"""


def fold_events() -> None:
    """Count the events that are settled for good into `KpiRollup`, so that totals stay cheap however many there are."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute(FOLD, [SETTLED_AFTER_SECONDS])


@dataclass
class Totals:
    """Payments by status, and succeeded amounts in minor units by currency."""

    count: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    amount: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def ledger_totals(epochs: Iterable[UUID] | None = None) -> Totals:
    """From committed rows: all of them, or those that counters of these epochs hold."""
    sql = "SELECT kind, currency, sum(count)::bigint, sum(amount)::bigint FROM payments_kpi_totals"
    parameters: list[Any] = []
    if epochs is not None:
        sql += " WHERE writer_id IN (SELECT id FROM payments_writer WHERE epoch = ANY(%s))"
        parameters = [list(epochs)]
    totals = Totals()
    with connection.cursor() as cursor:
        cursor.execute(sql + " GROUP BY kind, currency", parameters)
        for kind, currency, count, amount in cursor.fetchall():
            if kind in Transaction.FINAL:
                totals.count[kind] += count
            if kind == Transaction.Status.SUCCEEDED:
                totals.amount[currency] += amount
    return totals


def unresolved() -> tuple[int, float]:
    """How many payments and refunds are not final, and the age of the oldest in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8"
            " FROM payments_unresolved"
        )
        return cursor.fetchone()


# --- Counters ----------------------------------------------------------------------------------------------


@dataclass
class Counters:
    """What one or more scrapes hold, and the epochs since which they count."""

    totals: Totals = field(default_factory=Totals)
    epochs: set[UUID] = field(default_factory=set)

    def add(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "transactions_total":
                    self.totals.count[sample.labels["status"]] += round(sample.value)
                elif sample.name == "transaction_amount_sum":
                    currency = sample.labels["currency"]
                    self.totals.amount[currency] += to_minor(sample.value, currency)
                elif sample.name == "metrics_epoch_info":
                    self.epochs.add(UUID(sample.labels["epoch"]))


class ScrapeError(Exception):
    """The web's metrics could not be read."""


def scrape(url: str) -> str:
    try:
        response = urllib3.request("GET", url, timeout=5, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise ScrapeError(f"{url} does not answer: {type(error).__name__}") from error
    if response.status != 200:
        raise ScrapeError(f"{url} answered {response.status}")
    return response.data.decode()


def nearest_to_zero(low: int, high: int) -> int:
    """The drift to report when the true one lies in [low, high]."""
    if low > 0:
        return low
    return min(high, 0)


@dataclass
class Drift:
    transactions: dict[str, int]
    revenue: dict[str, int]


def measure_drift(read_counters: Callable[[], Counters]) -> Drift:
    """Rows minus counters, by status and, in minor units, by currency. Raises ScrapeError."""
    epochs = read_counters().epochs
    before = ledger_totals(epochs)
    time.sleep(PAUSE_SECONDS)
    counters = read_counters()
    after = ledger_totals(epochs)
    if counters.epochs != epochs:
        raise ScrapeError("the counters began anew while they were compared")
    return Drift(
        transactions=_compare(before.count, counters.totals.count, after.count, Transaction.FINAL),
        revenue=_compare(before.amount, counters.totals.amount, after.amount, ()),
    )


def _compare(
    before: dict[str, int], counted: dict[str, int], after: dict[str, int], always: Iterable[str]
) -> dict[str, int]:
    labels = {*before, *counted, *after, *always}
    return {
        label: nearest_to_zero(
            before.get(label, 0) - counted.get(label, 0), after.get(label, 0) - counted.get(label, 0)
        )
        for label in labels
    }


def measure_gateway_drift(gateway: Gateway) -> dict[str, int]:
    """By currency, in minor units: what the gateway says it holds of ours minus what the ledger says. GatewayError.

    Payments in hand may be on either side, so they widen the bounds as the two readings of the ledger do.
    """
    # In this order no payment can slip between two readings: it is booked, or in hand, or counted twice.
    booked_before, in_hand_before = _clearing(), _in_hand()
    totals = gateway.totals()
    in_hand_after, booked_after = _in_hand(), _clearing()
    drift = {}
    for currency in {*booked_before, *booked_after, *totals}:
        theirs = totals.get(currency, {})
        net = theirs.get("charged", 0) - theirs.get("refunded", 0)
        booked = booked_before.get(currency, 0), booked_after.get(currency, 0)
        in_hand = [readings.get(currency, (0, 0)) for readings in (in_hand_before, in_hand_after)]
        charges, refunds = max(pair[0] for pair in in_hand), max(pair[1] for pair in in_hand)
        drift[currency] = nearest_to_zero(net - max(booked) - charges, net - min(booked) + refunds)
    return drift


def _clearing() -> dict[str, int]:
    """The balance of the gateway's clearing account by currency."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT currency, sum(amount)::bigint FROM payments_kpi_totals"
            " WHERE kind IN ('succeeded', 'refund_succeeded') GROUP BY currency"
        )
        return dict(cursor.fetchall())


def _in_hand() -> dict[str, tuple[int, int]]:
    """Amounts of payments, and of refunds, that are not final."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT payment.currency, coalesce(sum(payment.amount) FILTER (WHERE work.refund_id IS NULL), 0)::bigint,"
            " coalesce(sum(refund.amount), 0)::bigint FROM payments_unresolved AS work"
            " JOIN payments_transaction AS payment ON payment.id = work.transaction_id"
            " LEFT JOIN payments_refund AS refund ON refund.id = work.refund_id GROUP BY payment.currency"
        )
        return {currency: (charges, refunds) for currency, charges, refunds in cursor.fetchall()}
