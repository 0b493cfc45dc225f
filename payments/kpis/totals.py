"""Totals of the rows: of all, of retired hosts, and by epoch."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from fintech.database.sql import fetch_all
from payments.states import AUTHENTICATION_PREFIX, AUTHENTICATIONS, CAPTURE, CHARGE, SALES, VOID

# The counters that equal the rows besides `transactions_total`: name -> prefix of the kinds of events, and statuses.
# A voided payment is in `authorizations_total`: it was no sale, and no failure. Each that the bank authorized is there
# once, as `authorized` or, if it was held for a review, as `in_review`.
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
    for row in fetch_all(statement):
        totals.add_rows(*row)
    return totals


def totals_by_epoch(epochs: Iterable[UUID]) -> dict[UUID, Totals]:
    """Return totals of the committed rows that are in the counters of these epochs, for each of them."""
    found = {epoch: Totals() for epoch in epochs}
    for epoch, *row in fetch_all(EPOCH_TOTALS, [list(found)]):
        found[epoch].add_rows(*row)
    return found
