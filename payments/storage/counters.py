"""The counters of the rows that this process has committed. `group_commit.py` keeps them equal to the rows."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from payments import metrics
from payments.currencies import to_major
from payments.states import CHARGE, SALES


class CounterState:
    """The values of this slot's counters, as integers.

    Counters are set, not incremented. A sum of floats can be slightly above the total of the rows, and a counter that
    falls looks like a restart to Prometheus, which then counts its whole value again. The library's public methods
    only add, hence the private attributes.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)
        self._sales: dict[str, tuple[int, int]] = {}  # currency -> number and sum of succeeded payments

    def load(self, totals: Sequence[tuple[str, str, int, int]]) -> None:
        """Replace the values by the totals of the rows: (kind, currency, count, amount).

        A currency whose rows a failover lost is 0 again.
        """
        self._counts.clear()
        self._sales = dict.fromkeys(self._sales, (0, 0))
        for kind, currency, count, amount in totals:
            self._counts[kind] += count
            if kind in SALES:
                self._add_sale(kind, currency, count, amount)
        self._publish((*metrics.STATUS, *metrics.OPERATIONS, "unknown"), self._sales)

    def add(self, totals: Iterable[tuple[str, str, int, int]]) -> None:
        """Add the committed totals of a group: (status, currency, count, amount)."""
        kinds, currencies = set(), set()
        for kind, currency, count, amount in totals:
            kinds.add(kind)
            self._counts[kind] += count
            if kind in SALES:
                currencies.add(currency)
                self._add_sale(kind, currency, count, amount)
        self._publish(kinds, currencies)

    def _add_sale(self, kind: str, currency: str, count: int, amount: int) -> None:
        """Add revenue. A payment that is captured in parts is one sale, counted when it is final."""
        sales, total = self._sales.get(currency, (0, 0))
        self._sales[currency] = sales + (count if kind == CHARGE.success else 0), total + amount

    def _publish(self, kinds: Iterable[str], currencies: Iterable[str]) -> None:
        for kind in kinds:
            counter = metrics.UNKNOWN_OUTCOMES if kind == "unknown" else metrics.STATUS.get(kind)
            if kind in metrics.OPERATIONS:
                metrics.OPERATIONS[kind]._value.set(self._counts[kind])
            if counter is not None:  # `processing` is counted once it is final
                counter._value.set(self._counts[kind])
        for currency in currencies:
            count, total = self._sales[currency]
            summary = metrics.AMOUNT.labels(currency)
            summary._count.set(count)
            summary._sum.set(to_major(total, currency))
