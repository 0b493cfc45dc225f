"""Up to 1,000 payments in one request: one T1, the gateway with bounded concurrency, one T2."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from uuid import UUID

from django.conf import settings
from django.db import connection

from fintech.http.problems import DATABASE_ERRORS, Problem, database_unavailable
from fintech.telemetry import tracing
from payments import metrics
from payments.api_keys import Principal
from payments.fraud import count_verdict
from payments.gateway.client import Answer
from payments.models import Unresolved
from payments.schemas import BatchItem
from payments.services.charges import Pending, charge, settle_payments, stored_row
from payments.services.idempotency import Reply, first_reply, location_of, replay_payments
from payments.settlement.group_commit import writer

logger = logging.getLogger("payments")

# The gateway calls of all batches of this process share these threads.
_threads = ThreadPoolExecutor(max_workers=settings.BATCH_CONCURRENCY, thread_name_prefix="batch")


class _Run:
    """The charges of one batch, by several threads, until the deadline."""

    def __init__(self, pendings: Sequence[Pending]) -> None:
        self._todo = iter(pendings)
        self._lock = threading.Lock()
        self._closed = False
        self.answered: list[tuple[Pending, Answer]] = []
        self.size = min(len(pendings), settings.BATCH_CONCURRENCY)

    def work(self) -> None:
        while (pending := self._next()) is not None:
            try:
                self._settle_if_late(pending, charge(pending))
            except Exception:  # one payment's trouble, which the resolver clears up; the others go on
                logger.exception("charge_failed", extra={"transaction": str(pending.id)})

    def _settle_if_late(self, pending: Pending, answer: Answer) -> None:
        with self._lock:
            if not self._closed:
                self.answered.append((pending, answer))
                return
        # Too late for the client's answer, not for the books.
        try:
            settle_payments([(pending, answer)])
        finally:
            connection.close()  # this thread's own, which no request ends

    def _next(self) -> Pending | None:
        with self._lock:
            return None if self._closed else next(self._todo, None)

    def close(self) -> list[Pending]:
        """No further charges. Returns those that were never tried."""
        with self._lock:
            self._closed = True
            return list(self._todo)


def create_batch(*, principal: Principal, items: Sequence[BatchItem | Problem]) -> list[Reply | Problem]:
    """Carry out the items that are well-formed, each under its own key; results in the order of the items.

    An item that is not final at the deadline comes back as `processing`: one that was being charged is settled when
    its answer comes, and one whose turn never came is cancelled by the resolver.
    """
    deadline = time.monotonic() + settings.BATCH_DEADLINE_SECONDS
    pendings = {
        place: Pending.of(principal, item.idempotency_key, item)
        for place, item in enumerate(items)
        if isinstance(item, BatchItem)
    }
    metrics.IN_PROGRESS.inc(len(pendings))
    try:
        stored = _store(principal, list(pendings.values()))
        replies = _charge_and_settle(stored, deadline)
    finally:
        metrics.IN_PROGRESS.dec(len(pendings))
    lost = {
        place: item
        for place, item in enumerate(items)
        if isinstance(item, BatchItem) and pendings[place].id not in replies
    }
    replays = _replay(principal, lost)
    return [
        item if isinstance(item, Problem) else replays.get(place) or replies[pendings[place].id]
        for place, item in enumerate(items)
    ]


def _store(principal: Principal, pendings: list[Pending]) -> list[Pending]:
    """T1. The payments that are new; the others lost their key to an earlier request, or to an earlier item."""
    lease = settings.BATCH_DEADLINE_SECONDS + settings.LEASE_SECONDS
    with tracing.step("T1", tracing.DATABASE, kind="client"):
        times = writer.store([stored_row(pending, principal, lease) for pending in pendings])
    for pending in pendings:
        pending.created_at = times.get(pending.id)
    stored = [pending for pending in pendings if pending.created_at is not None]
    metrics.RESULT["new"].inc(len(stored))
    for pending in stored:
        count_verdict(pending.verdict)
    return stored


def _charge_and_settle(stored: list[Pending], deadline: float) -> dict[UUID, Reply]:
    replies = {}
    to_charge = []
    for pending in stored:
        if pending.verdict.blocked:
            replies[pending.id] = first_reply(pending.shown_blocked(), location_of(pending.id))
        else:
            replies[pending.id] = first_reply(pending.shown("processing"), location_of(pending.id))
            to_charge.append(pending)
    connection.close()  # the gateway may take seconds
    run = _Run(to_charge)
    with tracing.step("gateway charges"):
        wait([_threads.submit(run.work) for _ in range(run.size)], timeout=max(0.0, deadline - time.monotonic()))
    untried = run.close()
    for payment in settle_payments(run.answered):
        replies[payment.id] = first_reply(payment, location_of(payment.id))
    with suppress(*DATABASE_ERRORS):  # then their leases run out
        Unresolved.objects.release([(pending.id, pending.lease_token) for pending in untried])
    return replies


def _replay(principal: Principal, items: Mapping[int, BatchItem]) -> dict[int, Reply | Problem]:
    """What came of items whose key was taken before. Others may just have been charged, so no error ends the batch."""
    requests = [(item.idempotency_key, item) for item in items.values()]
    try:
        replies = replay_payments(principal.merchant_id, requests)
    except DATABASE_ERRORS:
        replies = [database_unavailable() for _ in requests]
    return dict(zip(items, replies, strict=True))
