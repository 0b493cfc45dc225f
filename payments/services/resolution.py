"""What became of a payment or refund whose outcome is not known? Cancel it by our key; settle what the gateway says.

"Not found" would not be "failed": the call may still be in flight. A cancel leaves a tombstone that fences it, so its
answer is final: `cancelled` (nothing was charged, and nothing will be) or what had happened already.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from fintech.telemetry import tracing
from payments.gateway.client import Answer, gateway
from payments.models import Event, Unresolved
from payments.services.charges import settled_row
from payments.services.refunds import settle_refund
from payments.settlement.group_commit import writer

logger = logging.getLogger("payments.resolver")

LARGEST_TURN = 64
LONGEST_PAUSE_SECONDS = 30.0

# A lease that ran out or was given up: who holds the new token may settle, whoever held the old one may not.
TAKE = """
WITH taken AS (
    UPDATE payments_unresolved SET lease_token = gen_random_uuid(), attempts = attempts + 1,
        lease_until = clock_timestamp() + make_interval(secs => %s)
    WHERE resource_id IN (
        SELECT resource_id FROM payments_unresolved WHERE lease_until <= clock_timestamp()
        ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING *
)
SELECT taken.resource_id, taken.transaction_id, taken.refund_id, taken.lease_token, taken.attempts,
    coalesce(refund.gateway_key, payment.gateway_key)
FROM taken
JOIN payments_transaction AS payment ON payment.id = taken.transaction_id
LEFT JOIN payments_refund AS refund ON refund.id = taken.refund_id
"""


@dataclass(frozen=True)
class Lease:
    resource_id: UUID
    transaction_id: UUID
    refund_id: UUID | None
    token: UUID
    attempts: int
    gateway_key: UUID


def take_leases() -> list[Lease]:
    with connection.cursor() as cursor:
        cursor.execute(TAKE, [settings.LEASE_SECONDS, LARGEST_TURN])
        return [Lease(*row) for row in cursor.fetchall()]


def resolve_due(threads: ThreadPoolExecutor) -> int:
    """Take what is due and settle as much of it as the gateway allows; returns how many were taken."""
    leases = take_leases()
    connection.close()  # the gateway may take seconds
    turns = [threads.submit(_resolve_in_thread, lease) for lease in leases]
    wait(turns)  # also when one fails: the next turn must not meet a lease that still waits for a thread
    for turn in turns:
        turn.result()
    return len(leases)


def _resolve_in_thread(lease: Lease) -> None:
    try:
        with tracing.task("resolve", {"attempt": lease.attempts}):
            resolve_one(lease)
    finally:
        connection.close()  # this thread's own, which no request ends


def resolve_one(lease: Lease) -> str:
    """One question to the gateway; the outcome it gave. Without an answer the next turn comes after a growing pause."""
    if lease.refund_id is not None:
        answer = gateway().cancel_refund(lease.gateway_key)
    else:
        answer = gateway().cancel_charge(lease.gateway_key)
    if answer.outcome in ("approved", "declined", "cancelled"):
        _settle(lease, answer)
    else:
        pause = min(LONGEST_PAUSE_SECONDS, 0.5 * 2 ** min(lease.attempts, 10))
        Unresolved.objects.release([(lease.resource_id, lease.token)], seconds=pause)
    logger.info(
        "resolution",
        extra={
            "transaction": str(lease.transaction_id),
            "refund": str(lease.refund_id) if lease.refund_id else None,
            "outcome": answer.outcome,
            "attempt": lease.attempts,
        },
    )
    return answer.outcome


def _settle(lease: Lease, answer: Answer) -> None:
    if lease.refund_id is not None:
        settle_refund(lease.refund_id, lease.token, answer, actor="resolver")
        return
    writer.settle([settled_row(lease.transaction_id, lease.token, answer, actor="resolver")])


def request_resolution(transaction_ids: Iterable[UUID], *, actor: str) -> int:
    """Let the resolver try these, and their refunds, at its next turn; returns how many were waiting."""
    waiting = Unresolved.objects.filter(transaction_id__in=list(transaction_ids), lease_token=None)
    asked = 0
    for resource_id, transaction_id, refund_id in waiting.values_list("resource_id", "transaction_id", "refund_id"):
        # The resolver may just have taken it.
        if Unresolved.objects.filter(resource_id=resource_id, lease_token=None).update(lease_until=Now()):
            Event.objects.create(
                transaction_id=transaction_id, refund_id=refund_id, kind="resolution_requested", actor=actor
            )
            asked += 1
    return asked
