"""The KPIs in the rows, and the drift of the counters.

`kpi_drift` must be correct while payments continue. Rows are counted before and after the counters are read. Everything
committed before the first count is in the counters by then (an increment follows its commit within milliseconds, and
the pause is longer), and everything in the counters is committed by the second count. So the true drift lies between
`before - counters` and `after - counters`, and the value nearest to zero between them is reported: it is exact at rest,
and raises no false alarm under load.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import urllib3
from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Count, Min
from django.db.models.functions import Now
from django.db.transaction import atomic
from prometheus_client.parser import text_string_to_metric_families

from fintech.errors import Unavailable
from fintech.telemetry.host_registry import Exporter, live_epochs, retire, vanished
from payments.currencies import EXPONENTS, to_major, to_minor
from payments.gateway.base import Gateway
from payments.ledger.other_gateways import OtherGateways
from payments.models import Authentication, Dispute, Writer
from payments.states import (
    AUTHENTICATION_PREFIX,
    AUTHENTICATIONS,
    CAPTURE,
    CHARGE,
    DISPUTE,
    DISPUTE_RESPONSES,
    LIFECYCLES,
    REFUND,
    VOID,
)
from payments.table_follower import TableFollower

logger = logging.getLogger("payments.kpis")

# Longer than the delay of an increment after its commit.
PAUSE_SECONDS = 0.25
# The label of series that a worker exports for hosts that have gone.
RETIRED = "retired"
# The events that one statement adds, well within statement_timeout.
BATCH_SIZE = 50_000

ADVANCE = """
WITH mark AS (
    SELECT id, least(%(upto)s, event_id + %(most)s) AS upto FROM payments_kpiwatermark
    WHERE event_id < %(upto)s AND pg_postmaster_start_time()::text = %(server)s
), added AS (
    INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
    SELECT writer_id, kind, currency, count(*), sum(amount) FROM payments_kpi_tail
    WHERE id <= (SELECT upto FROM mark) GROUP BY 1, 2, 3
    ON CONFLICT (writer_id, kind, currency) DO UPDATE
        SET count = total.count + excluded.count, amount = total.amount + excluded.amount
)
UPDATE payments_kpiwatermark SET event_id = mark.upto FROM mark WHERE payments_kpiwatermark.id = mark.id
"""


class Rollup:
    """Adds the settled part of the journal to `KpiRollup`: the cost of totals does not grow with the journal."""

    def __init__(self) -> None:
        self._follower = TableFollower("payments_event")

    def advance(self) -> None:
        with connection.cursor() as cursor:
            self._follower.advance(cursor)
            while self._add_batch(cursor):
                pass

    @atomic
    def _add_batch(self, cursor: CursorWrapper) -> bool:
        cursor.execute("SELECT 1 FROM payments_kpiwatermark FOR UPDATE")  # then ADVANCE sees what came before it
        follower = self._follower
        cursor.execute(ADVANCE, {"upto": follower.settled, "server": follower.server, "most": BATCH_SIZE})
        return cursor.rowcount > 0


# A voided payment is in `authorizations_total`: it was no sale, and no failure. Each that the bank authorized is there
# once, as `authorized` or, if it was held for a review, as `in_review`.
# The kinds of events whose amount is revenue.
SALES = (CHARGE.success, CAPTURE.success)
# The counters that equal the rows besides `transactions_total`: name -> prefix of the kinds of events, and statuses.
OPERATION_COUNTERS = {
    "authorizations": ("", ("authorized", "in_review", "voided")),
    "authentications": (AUTHENTICATION_PREFIX, AUTHENTICATIONS),
    "captures": (CAPTURE.event_prefix, tuple(CAPTURE.final)),
    "voids": (VOID.event_prefix, tuple(VOID.final)),
}
OPERATION_KINDS = [prefix + status for prefix, statuses in OPERATION_COUNTERS.values() for status in statuses]


EPOCH_TOTALS = """
SELECT epoch, kind, currency, sum(count)::bigint, sum(amount)::bigint
FROM payments_kpi_totals JOIN payments_writer ON payments_writer.id = writer_id
WHERE writer_id IN (SELECT id FROM payments_writer WHERE epoch = ANY(%s)) GROUP BY 1, 2, 3
"""
# Epochs of a time before announcements, or of a release that does not make them.
ADOPT_UNANNOUNCED = """
INSERT INTO fintech_metricsepoch (epoch, role, holder, url, seen_at)
SELECT epoch, '', '', '', max(started_at) FROM payments_writer
WHERE NOT EXISTS (SELECT FROM fintech_metricsepoch AS known WHERE known.epoch = payments_writer.epoch)
GROUP BY epoch ON CONFLICT DO NOTHING
"""
RETIRED_TOTALS = """
SELECT kind, currency, sum(count)::bigint, sum(amount)::bigint FROM payments_kpi_totals
WHERE writer_id IN (
    SELECT writer.id FROM payments_writer AS writer JOIN fintech_metricsepoch AS known USING (epoch)
    WHERE known.retired_at IS NOT NULL)
GROUP BY 1, 2
"""


@dataclass
class Totals:
    """Payments by status, other operations by kind of event, and by currency sold amounts in minor units and sales."""

    operations: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    count: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    amount: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    sales: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unknown: int = 0

    def add_rows(self, kind: str, currency: str, count: int, amount: int) -> None:
        if kind in CHARGE.final:
            self.count[kind] += count
        if kind in OPERATION_KINDS:
            self.operations[kind] += count
        if kind in SALES:
            self.amount[currency] += amount
        if kind == CHARGE.success:
            self.sales[currency] += count
        if kind == "unknown":
            self.unknown += count


def ledger_totals() -> Totals:
    """Return totals of all committed rows."""
    return _totals(
        "SELECT kind, currency, sum(count)::bigint, sum(amount)::bigint FROM payments_kpi_totals GROUP BY 1, 2"
    )


def retired_totals() -> Totals:
    """Return totals of the rows whose host has gone for good: no exporter has their counters."""
    return _totals(RETIRED_TOTALS)


def _totals(statement: str) -> Totals:
    totals = Totals()
    with connection.cursor() as cursor:
        cursor.execute(statement)
        for row in cursor.fetchall():
            totals.add_rows(*row)
    return totals


def totals_by_epoch(epochs: Iterable[UUID]) -> dict[UUID, Totals]:
    """Return totals of the committed rows that are in the counters of these epochs, for each of them."""
    found = {epoch: Totals() for epoch in epochs}
    with connection.cursor() as cursor:
        cursor.execute(EPOCH_TOTALS, [list(found)])
        for epoch, *row in cursor.fetchall():
            found[epoch].add_rows(*row)
    return found


def held_amounts() -> dict[str, int]:
    """Return what is authorized and neither captured nor released, by currency in minor units."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT currency, sum(amount_left)::bigint FROM payments_authorization GROUP BY currency")
        return dict(cursor.fetchall())


def dispute_counts() -> dict[str, int]:
    """Return how many disputes have ever been in each state: the rows are the counter."""
    kinds = {DISPUTE.event_kind(status): status for status in DISPUTE.states}
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, count(*) FROM payments_event WHERE kind = ANY(%s) GROUP BY kind", [list(kinds)])
        return {kinds[kind]: count for kind, count in cursor.fetchall()}


def disputes_to_answer() -> tuple[int, datetime | None]:
    """Return the number of disputes that wait for the merchant, and the earliest time at which a response is due."""
    waiting = Dispute.objects.filter(status__in=list(DISPUTE_RESPONSES))
    result = waiting.aggregate(number=Count("id"), earliest=Min("evidence_due_at"))
    return result["number"], result["earliest"]


def unresolved() -> tuple[int, float]:
    """Return the number of operations that are not final, and the age of the oldest in seconds.

    A challenge is one of them once its time is over.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 FROM ("
            "SELECT created_at AS since FROM payments_unresolved UNION ALL"
            " SELECT expires_at FROM payments_authentication WHERE outcome IS NULL AND expires_at < now()) AS open"
        )
        return cursor.fetchone()


def open_challenges() -> int:
    """Return the number of payments whose customer has been asked to authenticate, and still has time."""
    return Authentication.objects.filter(outcome=None, expires_at__gt=Now()).count()


# --- Counters ----------------------------------------------------------------------------------------------


@dataclass
class Counters:
    """The counters of one or more scrapes, by epoch."""

    by_epoch: dict[UUID, Totals] = field(default_factory=dict)

    @property
    def totals(self) -> Totals:
        """Return the sums over all epochs."""
        total = Totals()
        for counted in self.by_epoch.values():
            for name in ("operations", "count", "amount"):
                for label, value in getattr(counted, name).items():
                    getattr(total, name)[label] += value
        return total

    def add(self, text: str) -> None:
        """Add a scrape, unless its epoch is there: a list of addresses may contain the reader's own."""
        families = list(text_string_to_metric_families(text))
        samples = [sample for family in families for sample in family.samples]
        epochs = {UUID(sample.labels["epoch"]) for sample in samples if sample.name == "metrics_epoch_info"}
        if len(epochs) == 1 and not epochs & self.by_epoch.keys():
            self.by_epoch[epochs.pop()] = self._sum(samples)

    @staticmethod
    def _sum(samples: Iterable[Any]) -> Totals:
        totals = Totals()
        for sample in samples:
            if RETIRED in sample.labels:
                continue  # read from the rows
            if sample.name == "transactions_total":
                totals.count[sample.labels["status"]] += round(sample.value)
            elif (name := sample.name.removesuffix("_total")) in OPERATION_COUNTERS and name != sample.name:
                totals.operations[OPERATION_COUNTERS[name][0] + sample.labels["status"]] += round(sample.value)
            elif sample.name == "transaction_amount_sum":
                currency = sample.labels["currency"]
                totals.amount[currency] += to_minor(sample.value, currency)
        return totals


def slots_by_epoch(epochs: Iterable[UUID]) -> dict[UUID, int]:
    """Return the number of slots whose counters add up to those of each of these epochs."""
    found = Writer.objects.filter(epoch__in=list(epochs)).values("epoch").annotate(slots=Count("slot", distinct=True))
    return {row["epoch"]: row["slots"] for row in found}


def unseen_epochs(seen: Collection[UUID]) -> int:
    """Return the number of epochs in which a connected process counts and that no scrape contained.

    Their payments are in the rows, but their counters are not compared. An epoch without a process is over: its rows
    remain, and there is no counter to compare.
    """
    return len(live_epochs() - set(seen))


class Retirement:
    """Retires each epoch whose host is silent and whose exporter no longer has its counters.

    While an exporter answers, its counters are in Prometheus, and the rows must not be exported beside them. A busy
    exporter may miss a scrape, so `RETIRE_SCRAPES` scrapes in a row must fail; another leader counts them again.
    """

    def __init__(self) -> None:
        self._failures: dict[UUID, int] = {}

    def advance(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(ADOPT_UNANNOUNCED)
        found = {exporter.epoch: self._failures_of(exporter) for exporter in vanished()}
        self._failures = {epoch: failures for epoch, failures in found.items() if failures is not None}

    def _failures_of(self, exporter: Exporter) -> int | None:
        """Scrape it, and return how many scrapes in a row have failed; None if it answers or is retired."""
        counters, failed = read_exporters([exporter.url] if exporter.url else [])
        if exporter.epoch in counters.by_epoch:
            return None
        failures = self._failures.get(exporter.epoch, 0) + 1
        if failed and failures < settings.RETIRE_SCRAPES:
            return failures
        retire(exporter.epoch)
        logger.info("host_retired", extra={"epoch": str(exporter.epoch), "error": "; ".join(failed)})
        return None


def read_exporters(urls: Iterable[str]) -> tuple[Counters, list[str]]:
    """Read the counters at these addresses, all at once. Return also the errors of those that do not answer."""
    counters, failed = Counters(), []
    urls = list(dict.fromkeys(urls))
    with ThreadPoolExecutor(min(16, len(urls) or 1), thread_name_prefix="scrape") as threads:
        for scraped in [threads.submit(scrape, url) for url in urls]:
            try:
                counters.add(scraped.result())
            except ScrapeError as error:
                failed.append(str(error))
    return counters, failed


class ScrapeError(Unavailable):
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
    """Return the drift to report if the true one lies in [low, high]."""
    if low > 0:
        return low
    return min(high, 0)


@dataclass
class Drift:
    """The largest drift of any epoch, by status, kind of event and currency."""

    transactions: dict[str, int] = field(default_factory=dict)
    revenue: dict[str, int] = field(default_factory=dict)
    unseen_epochs: int = 0
    operations: dict[str, int] = field(default_factory=dict)

    def add(self, before: Totals, counted: Totals, after: Totals, slots: int) -> None:
        """Add the comparison of one epoch's counters with its rows before and after they were read."""
        errors = {currency: float_error(amount, currency, slots) for currency, amount in counted.amount.items()}
        self._note(self.transactions, _compare(before.count, counted.count, after.count, CHARGE.final, {}))
        self._note(self.revenue, _compare(before.amount, counted.amount, after.amount, (), errors))
        kinds = OPERATION_KINDS
        self._note(self.operations, _compare(before.operations, counted.operations, after.operations, kinds, {}))

    @staticmethod
    def _note(largest: dict[str, int], found: dict[str, int]) -> None:
        for label, value in found.items():
            largest[label] = max(largest.get(label, 0), value, key=abs)


def measure_drift(read_counters: Callable[[], Counters]) -> Drift:
    """Return rows minus counters, by status and, in minor units, by currency. Raise ScrapeError.

    Each epoch is compared with its own rows, so that opposite errors of two hosts do not cancel out; the largest drift
    of any epoch is reported. An epoch that begins or ends meanwhile is left out.
    """
    epochs = set(read_counters().by_epoch)
    before = totals_by_epoch(epochs)
    time.sleep(PAUSE_SECONDS)
    counters = read_counters()
    compared = epochs & counters.by_epoch.keys()
    after = totals_by_epoch(compared)
    if not compared:
        raise ScrapeError("the counters began again while they were compared")
    slots = slots_by_epoch(compared)
    drift = Drift(unseen_epochs=unseen_epochs(compared))
    for epoch in compared:
        drift.add(before[epoch], counters.by_epoch[epoch], after[epoch], slots.get(epoch, 1))
    return drift


def float_error(amount_minor: int, currency: str, slots: int) -> int:
    """Return by how many minor units a counter may differ from the integers that its slots were set to.

    Metrics are floats in major units. Each slot rounds its total once, and each addition rounds once more, by at most
    half of the last place. The result is 0 up to 2^53 minor units divided by twice the number of slots: with nine
    slots, up to EUR 4,000,000,000,000.
    """
    error = slots * math.ulp(to_major(amount_minor, currency)) * 10 ** EXPONENTS[currency]
    return 0 if error < 0.5 else math.ceil(error)


def _compare(
    before: dict[str, int],
    counted: dict[str, int],
    after: dict[str, int],
    always: Iterable[str],
    errors: dict[str, int],
) -> dict[str, int]:
    drift = {}
    for label in {*before, *counted, *after, *always}:
        count, error = counted.get(label, 0), errors.get(label, 0)
        drift[label] = nearest_to_zero(before.get(label, 0) - count - error, after.get(label, 0) - count + error)
    return drift


# Kind of event -> its sign in what the gateway owes us, and the name of the gateway's total.
MOVED = {
    CHARGE.success: (1, "charged"),
    CAPTURE.success: (1, "captured"),
    REFUND.success: (-1, "refunded"),
    DISPUTE.event_kind("opened"): (-1, "disputed"),
    DISPUTE.event_kind("won"): (1, "dispute_returned"),
}


def measure_gateway_drift(gateway: Gateway, others: OtherGateways | None = None) -> dict[str, int]:
    """Return, by currency in minor units, the gateway's total minus the ledger's. Raise GatewayError.

    `others` has the sums of other gateways, if there are any.

    Kinds have separate bounds: a refund between two readings must not hide or imitate a charge. Payments
    in progress may be on either side, so they widen the bounds like the two readings of the ledger.
    """
    # In this order no payment can be missed between two readings: it is posted, or in progress, or counted twice.
    # Other gateways' money is read after `before` and before `after`: what moves there meanwhile widens the bounds.
    before = _booked()
    _subtract(before, others)
    totals = gateway.totals()
    if totals is None:
        return {}
    in_hand = _in_hand()
    after: _Amounts = defaultdict(lambda: defaultdict(int))
    _subtract(after, others)
    _add(after, _booked())
    drift: dict[str, int] = defaultdict(int)
    for kind, (sign, theirs) in MOVED.items():
        for currency in {*before[kind], *after[kind], *totals}:
            moved = totals.get(currency, {}).get(theirs, 0)
            low = moved - after[kind][currency] - in_hand[kind][currency]
            drift[currency] += sign * nearest_to_zero(low, moved - before[kind][currency])
    return dict(drift)


_Amounts = dict[str, dict[str, int]]  # by kind of event and currency, in minor units


def _booked() -> _Amounts:
    """Return the charges, captures, refunds and disputes in the ledger."""
    booked: _Amounts = defaultdict(lambda: defaultdict(int))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT kind, currency, abs(sum(amount))::bigint FROM payments_kpi_totals"
            " WHERE kind = ANY(%s) GROUP BY kind, currency",
            [list(MOVED)],
        )
        for kind, currency, amount in cursor.fetchall():
            booked[kind][currency] = amount
    return booked


def _subtract(amounts: _Amounts, others: OtherGateways | None) -> None:
    for kind, sums in others.measure().items() if others else ():
        for currency, amount in sums.items():
            amounts[kind][currency] -= amount


def _add(amounts: _Amounts, others: _Amounts) -> None:
    for kind, sums in others.items():
        for currency, amount in sums.items():
            amounts[kind][currency] += amount


def _in_hand() -> _Amounts:
    """Return the charges, captures and refunds that are not final at `GATEWAY_NAME`."""
    in_hand: _Amounts = defaultdict(lambda: defaultdict(int))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT work.operation, payment.currency,"
            " sum(coalesce(refund.amount, capture.amount, payment.amount))::bigint FROM payments_unresolved AS work"
            " JOIN payments_transaction AS payment ON payment.id = work.transaction_id"
            " LEFT JOIN payments_refund AS refund ON refund.id = work.refund_id"
            " LEFT JOIN payments_capture AS capture ON capture.id = work.capture_id"
            " WHERE work.void_id IS NULL AND NOT (work.operation = 'charge' AND payment.manual_capture)"
            " AND payment.gateway = %s GROUP BY 1, 2",
            [settings.GATEWAY_NAME],
        )
        for operation, currency, amount in cursor.fetchall():
            in_hand[LIFECYCLES[operation].success][currency] = amount
    return in_hand
