"""The KPIs in the rows, and the drift of the counters.

`kpi_drift` must be correct while payments continue. Rows are counted before and after the counters are read. Everything
committed before the first count is in the counters by then (an increment follows its commit within milliseconds, and
the pause is longer), and everything in the counters is committed by the second count. So the true drift lies between
`before - counters` and `after - counters`, and the value nearest to zero between them is reported: it is exact at rest,
and raises no false alarm under load.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import urllib3
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic
from prometheus_client.parser import text_string_to_metric_families

from fintech.errors import Unavailable
from payments.currencies import EXPONENTS, to_major, to_minor
from payments.gateway.base import Gateway
from payments.journal import JournalFollower
from payments.models import Writer
from payments.states import CAPTURE, CHARGE, LIFECYCLES, REFUND, VOID

# Longer than the delay of an increment after its commit.
PAUSE_SECONDS = 0.25
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
        self._follower = JournalFollower("payments_event")

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


# A voided payment is in `authorizations_total`: it was no sale, and no failure.
# The kinds of events whose amount is revenue.
SALES = (CHARGE.success, CAPTURE.success)
# The counters that equal the rows besides `transactions_total`: name -> prefix of the kinds of events, and statuses.
OPERATION_COUNTERS = {
    "authorizations": ("", ("authorized", "voided")),
    "captures": (CAPTURE.event_prefix, tuple(CAPTURE.final)),
    "voids": (VOID.event_prefix, tuple(VOID.final)),
}
OPERATION_KINDS = [prefix + status for prefix, statuses in OPERATION_COUNTERS.values() for status in statuses]


@dataclass
class Totals:
    """Payments by status, other operations by kind of event, and sold amounts in minor units by currency."""

    operations: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    count: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    amount: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def ledger_totals(epochs: Iterable[UUID] | None = None) -> Totals:
    """Return totals of the committed rows: of all, or of those in the counters of these epochs."""
    sql = "SELECT kind, currency, sum(count)::bigint, sum(amount)::bigint FROM payments_kpi_totals"
    parameters: list[Any] = []
    if epochs is not None:
        sql += " WHERE writer_id IN (SELECT id FROM payments_writer WHERE epoch = ANY(%s))"
        parameters = [list(epochs)]
    totals = Totals()
    with connection.cursor() as cursor:
        cursor.execute(sql + " GROUP BY kind, currency", parameters)
        for kind, currency, count, amount in cursor.fetchall():
            if kind in CHARGE.final:
                totals.count[kind] += count
            if kind in OPERATION_KINDS:
                totals.operations[kind] += count
            if kind in SALES:
                totals.amount[currency] += amount
    return totals


def held_amounts() -> dict[str, int]:
    """Return what is authorized and neither captured nor released, by currency in minor units."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT currency, sum(amount_left)::bigint FROM payments_authorization GROUP BY currency")
        return dict(cursor.fetchall())


def unresolved() -> tuple[int, float]:
    """Return the number of operations that are not final, and the age of the oldest in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8"
            " FROM payments_unresolved"
        )
        return cursor.fetchone()


# --- Counters ----------------------------------------------------------------------------------------------


@dataclass
class Counters:
    """The counters of one or more scrapes, and their epochs."""

    totals: Totals = field(default_factory=Totals)
    epochs: set[UUID] = field(default_factory=set)

    def add(self, text: str) -> None:
        """Add a scrape, unless its epoch is there: a list of addresses may contain the reader's own."""
        families = list(text_string_to_metric_families(text))
        samples = [sample for family in families for sample in family.samples]
        epochs = {UUID(sample.labels["epoch"]) for sample in samples if sample.name == "metrics_epoch_info"}
        if not epochs & self.epochs:
            self.epochs |= epochs
            self._sum(samples)

    def _sum(self, samples: Iterable[Any]) -> None:
        for sample in samples:
            if sample.name == "transactions_total":
                self.totals.count[sample.labels["status"]] += round(sample.value)
            elif (name := sample.name.removesuffix("_total")) in OPERATION_COUNTERS and name != sample.name:
                self.totals.operations[OPERATION_COUNTERS[name][0] + sample.labels["status"]] += round(sample.value)
            elif sample.name == "transaction_amount_sum":
                currency = sample.labels["currency"]
                self.totals.amount[currency] += to_minor(sample.value, currency)


def count_slots(epochs: Iterable[UUID]) -> int:
    """Return the number of slots whose counters add up to those of these epochs."""
    return Writer.objects.filter(epoch__in=list(epochs)).values("epoch", "slot").distinct().count()


# Named by the writer (payments/settlement/group_commit.py): `writer <epoch> <slot>`.
LIVE_EPOCHS = """
SELECT DISTINCT split_part(application_name, ' ', 2) FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^writer [0-9a-f-]{36} '
"""


def unseen_epochs(seen: Collection[UUID]) -> int:
    """Return the number of lives of metrics files that a connected process counts in, and that no scrape contained.

    Their payments are in the rows, and nothing compares their counters. A life without a process is over: its rows
    remain, and no counter is left to compare.
    """
    with connection.cursor() as cursor:
        cursor.execute(LIVE_EPOCHS)
        return len({UUID(epoch) for (epoch,) in cursor.fetchall()} - set(seen))


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
    transactions: dict[str, int]
    revenue: dict[str, int]
    unseen_epochs: int = 0
    operations: dict[str, int] = field(default_factory=dict)


def measure_drift(read_counters: Callable[[], Counters]) -> Drift:
    """Return rows minus counters, by status and, in minor units, by currency. Raise ScrapeError."""
    epochs = read_counters().epochs
    before = ledger_totals(epochs)
    time.sleep(PAUSE_SECONDS)
    counters = read_counters()
    after = ledger_totals(epochs)
    if counters.epochs != epochs:
        raise ScrapeError("the counters began again while they were compared")
    slots = count_slots(epochs)
    errors = {currency: float_error(amount, currency, slots) for currency, amount in counters.totals.amount.items()}
    return Drift(
        transactions=_compare(before.count, counters.totals.count, after.count, CHARGE.final, {}),
        revenue=_compare(before.amount, counters.totals.amount, after.amount, (), errors),
        unseen_epochs=unseen_epochs(epochs),
        operations=_compare(before.operations, counters.totals.operations, after.operations, OPERATION_KINDS, {}),
    )


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


def measure_gateway_drift(gateway: Gateway) -> dict[str, int]:
    """Return, by currency in minor units, the gateway's total minus the ledger's. Raise GatewayError.

    Kinds have separate bounds: a refund between two readings must not hide or imitate a charge. Payments
    in progress may be on either side, so they widen the bounds like the two readings of the ledger.
    """
    # In this order no payment can be missed between two readings: it is posted, or in progress, or counted twice.
    before = _booked()
    totals = gateway.totals()
    in_hand, after = _in_hand(), _booked()
    drift: dict[str, int] = defaultdict(int)
    kinds = ((CHARGE.success, 1, "charged"), (CAPTURE.success, 1, "captured"), (REFUND.success, -1, "refunded"))
    for kind, sign, theirs in kinds:
        for currency in {*before[kind], *after[kind], *totals}:
            moved = totals.get(currency, {}).get(theirs, 0)
            low = moved - after[kind][currency] - in_hand[kind][currency]
            drift[currency] += sign * nearest_to_zero(low, moved - before[kind][currency])
    return dict(drift)


_Amounts = dict[str, dict[str, int]]  # by kind of event and currency, in minor units


def _booked() -> _Amounts:
    """Return the charges, captures and refunds in the ledger."""
    booked: _Amounts = defaultdict(lambda: defaultdict(int))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT kind, currency, abs(sum(amount))::bigint FROM payments_kpi_totals"
            " WHERE kind = ANY(%s) GROUP BY kind, currency",
            [[CHARGE.success, CAPTURE.success, REFUND.success]],
        )
        for kind, currency, amount in cursor.fetchall():
            booked[kind][currency] = amount
    return booked


def _in_hand() -> _Amounts:
    """Return the charges, captures and refunds that are not final."""
    in_hand: _Amounts = defaultdict(lambda: defaultdict(int))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT work.operation, payment.currency,"
            " sum(coalesce(refund.amount, capture.amount, payment.amount))::bigint FROM payments_unresolved AS work"
            " JOIN payments_transaction AS payment ON payment.id = work.transaction_id"
            " LEFT JOIN payments_refund AS refund ON refund.id = work.refund_id"
            " LEFT JOIN payments_capture AS capture ON capture.id = work.capture_id"
            " WHERE work.void_id IS NULL AND NOT (work.operation = 'charge' AND payment.manual_capture)"
            " GROUP BY 1, 2"
        )
        for operation, currency, amount in cursor.fetchall():
            in_hand[LIFECYCLES[operation].success][currency] = amount
    return in_hand
