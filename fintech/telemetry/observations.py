"""Histograms whose observations are written once a turn of the event loop."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import partial

from prometheus_client import Histogram

from fintech.server import cooperation


class Observations:
    """The observations of a histogram, which a client that has its answer finds counted.

    A payment makes four of them. prometheus_client searches the bucket of each again, and writes two values: this took
    a twentieth of a payment's Python instructions. Threads write at once.
    """

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram
        self._amounts: list[float] = []

    def observe(self, *amounts: float) -> None:
        if not cooperation.on_loop():
            self._write(amounts)
        elif amounts:
            if not self._amounts:
                cooperation.after_turn(self._end_turn)
            self._amounts += amounts

    def _end_turn(self) -> None:
        amounts, self._amounts = self._amounts, []
        self._write(amounts)

    def _write(self, amounts: Sequence[float]) -> None:
        # Private names: a histogram has no public way to count several observations.
        self.histogram._sum.inc(sum(amounts))
        for bucket, number in Counter(map(partial(bisect_left, self.histogram._upper_bounds), amounts)).items():
            self.histogram._buckets[bucket].inc(number)
