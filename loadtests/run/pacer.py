"""The requests of one load process: each is due at its time, however slow the service answers.

The pacer puts due times into a queue, and idle merchants take them. While every merchant waits for an answer, the queue
grows, and latencies count from the due times (no coordinated omission).
"""

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import gevent
import psutil
from gevent.queue import Queue

from loadtests.locustfile import PAYMENTS
from loadtests.run.samples import NOT_SENT, REPORT_SECONDS, UNANSWERED, Sample
from loadtests.run.shapes import Plan

HALT_SECONDS = 2.0  # for running requests after Ctrl-C


class Slot:
    """The request of one merchant: its due time, and how often it was sent."""

    def __init__(self, run: int, due: float) -> None:
        self.run, self.due = run, due
        self.attempt = 0
        self.sent: float | None = None  # while an answer is awaited

    def start(self, now: float) -> dict[str, Any]:
        """Return the context that Locust adds to the event of this request."""
        self.attempt += 1
        self.sent = now
        due = self.due if self.attempt == 1 else now
        return {"slot": self, "due": due, "late": now - due, "attempt": self.attempt}


class Pacer:
    """`send` hands a message over to the conductor, which may be another process."""

    def __init__(self, send: Callable[[str, dict[str, Any]], None]) -> None:
        self._send = send
        self._queue: Queue[float] = Queue()
        self._slots: dict[int, Slot] = {}
        self._rows: list[Sample] = []
        self._lags: list[float] = []
        self._run = 0
        self._index = 0
        self._start = 0.0
        self._pacing: gevent.Greenlet | None = None
        self._halted: float | None = None

    # --- Called by merchants -------------------------------------------------------------------------------

    def take(self, merchant: object) -> None:
        """Wait until a request is due that no other merchant has taken."""
        self._slots.pop(id(merchant), None)
        due = self._queue.get()
        self._slots[id(merchant)] = Slot(self._run, due)

    def start_request(self, merchant: object) -> dict[str, Any]:
        return self._slots[id(merchant)].start(time.monotonic())

    def on_request(
        self,
        *,
        request_type: str,
        name: str,
        response_time: float,
        response: Any,
        context: dict[str, Any],
        exception: Exception | None,
        **_: object,
    ) -> None:
        """Handle Locust's event: one answered or failed request."""
        slot: Slot = context["slot"]
        slot.sent = None
        if slot.run == self._run:  # otherwise an answer to a test that has ended
            times = (context["due"] - self._start, context["late"] * 1000, response_time)
            what = (f"{request_type} {name}", context["attempt"], response.status_code or 0)
            outcome = read_outcome(response) if (request_type, name) == ("POST", PAYMENTS) else ""
            self._rows.append(Sample(self._index, *times, *what, outcome, describe(exception)))

    # --- Called by the conductor ---------------------------------------------------------------------------

    def begin(self, plan: Plan, index: int, count: int) -> None:
        """Pace every `count`-th request of the plan, beginning with number `index`."""
        self._run += 1
        self._index = index
        self._rows, self._lags, self._halted = [], [], None
        self._start = time.monotonic()
        self._pacing = gevent.spawn(self._pace, plan, index, count)
        gevent.spawn(self._finish, plan, self._pacing)

    def halt(self) -> None:
        """Make no further request due; those in progress have HALT_SECONDS."""
        if self._halted is None and self._pacing is not None:
            self._halted = time.monotonic()
            self._pacing.kill(block=False)

    def _pace(self, plan: Plan, index: int, count: int) -> None:
        for at in islice(plan.due_times(), index, None, count):
            due = self._start + at
            gevent.sleep(max(0.0, due - time.monotonic()))  # 0 lets the merchants run
            self._lags.append(time.monotonic() - due)
            self._queue.put(due)
        gevent.sleep(max(0.0, self._start + plan.duration - time.monotonic()))

    def _finish(self, plan: Plan, pacing: gevent.Greenlet) -> None:
        """Report while the plan runs, then wait for answers, and report what got none."""
        process = psutil.Process()
        process.cpu_percent()
        while not pacing.ready():
            pacing.join(REPORT_SECONDS)
            self._report()
        cpu = process.cpu_percent() / 100
        end = self._start + plan.duration + plan.drain
        while self._is_busy() and time.monotonic() < (self._halted + HALT_SECONDS if self._halted else end):
            gevent.sleep(0.05)
        self._note_unanswered(time.monotonic())
        self._report()
        self._run += 1  # later answers belong to no test
        lags = sorted(self._lags) or [0.0]
        lag = lags[int(0.99 * (len(lags) - 1))]
        self._send("finished", {"number": self._index, "cpu": cpu, "lag_ms": lag * 1000})

    def _is_busy(self) -> bool:
        return not self._queue.empty() or any(slot.run == self._run for slot in self._slots.values())

    def _report(self) -> None:
        rows, self._rows = self._rows, []
        self._send("samples", {"rows": rows, "backlog": self._queue.qsize()})

    def _note_unanswered(self, now: float) -> None:
        while not self._queue.empty():
            due = self._queue.get()
            self._note(due, (now - due) * 1000, 0.0, 1, NOT_SENT)
        for slot in self._slots.values():
            if slot.run == self._run and slot.sent is not None:
                due = slot.due if slot.attempt == 1 else slot.sent
                self._note(due, (slot.sent - due) * 1000, (now - slot.sent) * 1000, slot.attempt, UNANSWERED)

    def _note(self, due: float, late_ms: float, response_ms: float, attempt: int, error: str) -> None:
        row = Sample(self._index, due - self._start, late_ms, response_ms, "unanswered", attempt, 0, "", error)
        self._rows.append(row)


def read_outcome(response: Any) -> str:
    """Return the status of the payment in an answer; "" if it has none."""
    try:
        return str(response.json()["status"]) if response.status_code < 400 else ""
    except (KeyError, TypeError, ValueError):
        return ""


def describe(error: Exception | None) -> str:
    """Return an error in one line that groups with its like: without the address that changes between requests."""
    if error is None:
        return ""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
