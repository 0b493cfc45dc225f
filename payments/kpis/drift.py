"""Rows minus counters.

`kpi_drift` must be correct while payments continue. Rows are counted before and after the counters are read. Everything
committed before the first count is in the counters by then (an increment follows its commit within milliseconds, and
the pause is longer), and everything in the counters is committed by the second count. So the true drift lies between
`before - counters` and `after - counters`, and the value nearest to zero between them is reported: it is exact at rest,
and raises no false alarm under load.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Count

from fintech.telemetry.host_registry import live_epochs, live_sessions
from payments.currencies import EXPONENTS, to_major
from payments.kpis.scrape import Counters, ScrapeError
from payments.kpis.totals import OPERATION_KINDS, Totals, totals_by_epoch
from payments.models import Writer
from payments.states import CHARGE

# Longer than the delay of an increment after its commit.
PAUSE_SECONDS = 0.25


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
    of any epoch is reported. An epoch is left out if it begins or ends meanwhile, or if its processes do: one that was
    killed may have committed rows that are not counted until it starts again.
    """
    connected = live_sessions()
    epochs = set(read_counters().by_epoch)
    before = totals_by_epoch(epochs)
    time.sleep(PAUSE_SECONDS)
    counters = read_counters()
    found = epochs & counters.by_epoch.keys()
    after = totals_by_epoch(found)
    still_connected = live_sessions()
    compared = {epoch for epoch in found & connected.keys() if connected[epoch] == still_connected.get(epoch)}
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
