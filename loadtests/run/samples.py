"""One row per request, as load_samples.csv has it."""

import csv
from collections.abc import Iterable
from typing import NamedTuple, TextIO

# Requests that got no answer: their time is up to the end of the test, so the true one is longer.
NOT_SENT = "not sent: every simulated merchant was busy until the end"
UNANSWERED = "no answer until the end"
REPORT_SECONDS = 0.5  # between two reports of a load process


class Sample(NamedTuple):
    """A request: `late_ms` passed between its due time and its start, `response_ms` until the answer.

    A repetition (`attempt` 2 and more) is due when the merchant sends it. `status` is 0 without an answer. `outcome` is
    the status of a single payment. `error` is empty if the answer was right.
    """

    process: int
    due_seconds: float
    late_ms: float
    response_ms: float
    request: str
    attempt: int
    status: int
    outcome: str
    error: str

    @property
    def latency_ms(self) -> float:
        """Return the time from when the request was due, so that waiting for a slow service counts."""
        return self.late_ms + self.response_ms

    @property
    def answered_at(self) -> float:
        return self.due_seconds + self.latency_ms / 1000


def write_samples(samples: Iterable[Sample], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    first, due, *rest = Sample._fields
    writer.writerow([first, due, "latency_ms", *rest])
    for sample in samples:
        process, due_seconds, late, response, *others = sample
        times = [f"{value:.3f}" for value in (due_seconds, sample.latency_ms, late, response)]
        writer.writerow([process, *times, *others])
