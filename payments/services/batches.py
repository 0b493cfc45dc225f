"""Up to 1,000 payments in one request: stored at once, charged with bounded concurrency, settled at once."""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID

from django.conf import settings

from fintech.database.connections import query, release
from fintech.errors import DATABASE_ERRORS
from fintech.server import cooperation
from fintech.telemetry import tracing
from payments import metrics
from payments.api_keys import Principal
from payments.errors import PaymentError, Unavailable
from payments.gateway.base import Answer
from payments.models import Unresolved
from payments.schemas import BatchItem
from payments.services.charges import charge, settle_payments, store
from payments.services.idempotency import replay_payments, used_keys
from payments.services.pending import Pending
from payments.services.refused_retries import find_forbidden
from payments.services.results import Result

logger = logging.getLogger("payments")

# All batches of this process share these slots. A process without an event loop charges in these threads.
_slots = cooperation.Slots(settings.BATCH_CONCURRENCY)
_threads = ThreadPoolExecutor(max_workers=settings.BATCH_CONCURRENCY, thread_name_prefix="batch")


class _Run:
    """The charges of one batch, by several tasks, until the deadline."""

    def __init__(self, pendings: Sequence[Pending]) -> None:
        self._todo = deque(pendings)
        self._unfinished = len(pendings)
        self._lock = threading.Lock()
        self._closed = False
        self._ended = threading.Event()
        self.answered: list[tuple[Pending, Answer]] = []

    def charge(self, deadline: float) -> list[Pending]:
        """Charge the payments until the deadline. Returns those that were never tried."""
        if self._todo:
            most = min(len(self._todo), settings.BATCH_CONCURRENCY)
            cooperation.fan_out(self._work, most=most, wanted=lambda: bool(self._todo), threads=_threads)
            self._ended.wait(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._closed = True
            untried = list(self._todo)
            self._todo.clear()
        return untried

    def _work(self) -> None:
        while self._todo:
            with _slots:
                if (pending := self._next()) is None:
                    return
                try:
                    self._settle_if_late(pending, charge(pending))
                except Exception:  # of one payment, which the resolver settles; the others continue
                    logger.exception("charge_failed", extra={"transaction": str(pending.id)})
                finally:
                    self._finish_one()

    def _next(self) -> Pending | None:
        with self._lock:
            return self._todo.popleft() if self._todo else None

    def _settle_if_late(self, pending: Pending, answer: Answer) -> None:
        with self._lock:
            if not self._closed:
                self.answered.append((pending, answer))
                return
        # Too late for the client's answer, not for the ledger.
        try:
            settle_payments([(pending, answer)])
        finally:
            release()  # no request closes the connection of this thread

    def _finish_one(self) -> None:
        with self._lock:
            self._unfinished -= 1
            if not self._unfinished:
                self._ended.set()


def create_batch(*, principal: Principal, items: Sequence[BatchItem | PaymentError]) -> list[Result | PaymentError]:
    """Carry out the valid items, each under its own key. Returns results in the order of the items.

    An item that is not final at the deadline is returned as `processing`. If it was being charged, it is settled when
    the gateway answers; otherwise the resolver cancels it.
    """
    deadline = time.monotonic() + settings.BATCH_DEADLINE_SECONDS
    items = _refuse_forbidden(principal, items) if principal.refuse_forbidden_retries else list(items)
    pendings = _create_pendings(principal, items)
    metrics.IN_PROGRESS.inc(len(pendings))
    try:
        lease = settings.BATCH_DEADLINE_SECONDS + settings.LEASE_SECONDS
        stored = store(list(pendings.values()), lease)
        outcomes = _charge_and_settle(stored, deadline)
    finally:
        metrics.IN_PROGRESS.dec(len(pendings))
    lost = {
        place: item
        for place, item in enumerate(items)
        if isinstance(item, BatchItem) and (place not in pendings or pendings[place].id not in outcomes)
    }
    replays = _replay(principal, lost) if lost else {}
    return [
        item if isinstance(item, PaymentError) else replays.get(place) or outcomes[pendings[place].id]
        for place, item in enumerate(items)
    ]


def _refuse_forbidden(
    principal: Principal, items: Sequence[BatchItem | PaymentError]
) -> list[BatchItem | PaymentError]:
    valid = [(item.idempotency_key, item) for item in items if isinstance(item, BatchItem)]
    refusals = iter(query(find_forbidden, principal.merchant_id, valid))
    return [next(refusals) or item if isinstance(item, BatchItem) else item for item in items]


def _create_pendings(principal: Principal, items: list[BatchItem | PaymentError]) -> dict[int, Pending]:
    """Return the payments by their place. A refusal takes the place of its item, unless its key is to be replayed."""
    pendings: dict[int, Pending] = {}
    refused: dict[int, tuple[str, PaymentError]] = {}
    for place, item in enumerate(items):
        if isinstance(item, BatchItem):
            try:
                pendings[place] = Pending.create(principal, item.idempotency_key, item)
            except PaymentError as error:
                refused[place] = item.idempotency_key, error
    used = query(used_keys, principal.merchant_id, [key for key, _ in refused.values()]) if refused else ()
    for place, (key, refusal) in refused.items():
        if key not in used:
            items[place] = refusal
    return pendings


def _charge_and_settle(stored: list[Pending], deadline: float) -> dict[UUID, Result]:
    outcomes = {pending.id: Result(pending) for pending in stored}
    release()  # the gateway may take seconds
    run = _Run([pending for pending in stored if not pending.is_final])
    with tracing.step("gateway charges"):
        untried = run.charge(deadline)
    for payment in settle_payments(run.answered):
        outcomes[payment.id] = Result(payment)
    if untried:
        with suppress(*DATABASE_ERRORS):  # then their leases run out
            Unresolved.objects.release([(pending.id, pending.lease_token) for pending in untried])
    return outcomes


def _replay(principal: Principal, items: Mapping[int, BatchItem]) -> dict[int, Result | PaymentError]:
    """Return the outcomes of items whose key was used before.

    An error becomes the result of these items: others may have been charged, so it must not end the batch.
    """
    requests = [(item.idempotency_key, item) for item in items.values()]
    results: list[Result | PaymentError]
    try:
        results = replay_payments(principal.merchant_id, requests)
    except DATABASE_ERRORS:
        results = [Unavailable() for _ in requests]
    return dict(zip(items, results, strict=True))
