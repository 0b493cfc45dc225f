"""Resolve operations whose outcome is unknown: cancel them by their key, and settle the gateway's answer.

"Not found" would not mean "failed", because the call may still be in flight. A cancel leaves a tombstone that stops it,
so its answer is final: `cancelled` (nothing was charged, and nothing will be) or the earlier outcome.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from fintech.database.sql import fetch_all, fetch_one
from fintech.jobs import growing_pause, share_out
from fintech.telemetry import tracing
from payments.gateway.base import Answer, Gateway
from payments.gateway.registry import gateways
from payments.models import Event, Unresolved
from payments.services.captures import settle_capture
from payments.services.outcomes import settle_decision
from payments.services.refunds import settle_refund
from payments.services.voids import settle_void
from payments.states import AUTHORIZATION, CAPTURE, CHARGE, REFUND, VOID

logger = logging.getLogger("payments.resolver")

BATCH_SIZE = 64
MAX_PAUSE_SECONDS = 30.0

# Only the holder of the new token may settle.
_ACQUIRE = """
WITH taken AS (
    UPDATE payments_unresolved SET lease_token = gen_random_uuid(), attempts = attempts + 1,
        lease_until = clock_timestamp() + make_interval(secs => %s)
    WHERE resource_id IN ({free} FOR UPDATE SKIP LOCKED)
    RETURNING *
)
SELECT taken.resource_id, taken.transaction_id, taken.refund_id, taken.lease_token, taken.attempts,
    CASE WHEN taken.operation = 'charge' AND payment.manual_capture THEN 'authorization' ELSE taken.operation END,
    payment.gateway, coalesce(refund.gateway_key, capture.gateway_key, void.gateway_key, payment.gateway_key),
    payment.gateway_reference, payment.gateway_key, refund.amount, payment.currency
FROM taken
JOIN payments_transaction AS payment ON payment.id = taken.transaction_id
LEFT JOIN payments_refund AS refund ON refund.id = taken.refund_id
LEFT JOIN payments_capture AS capture ON capture.id = taken.capture_id
LEFT JOIN payments_void AS void ON void.id = taken.void_id
"""
# Leases that ran out or were released.
ACQUIRE_LEASES = _ACQUIRE.format(
    free="""SELECT resource_id FROM payments_unresolved WHERE lease_until <= clock_timestamp()
        ORDER BY lease_until LIMIT %s"""
)
# That of one operation, also in a pause between two attempts: no process holds it then.
ACQUIRE_LEASE = _ACQUIRE.format(
    free="""SELECT resource_id FROM payments_unresolved
        WHERE resource_id = %s AND (lease_token IS NULL OR lease_until <= clock_timestamp())"""
)


@dataclass(frozen=True)
class Lease:
    resource_id: UUID
    transaction_id: UUID
    refund_id: UUID | None
    token: UUID
    attempts: int
    operation: str
    gateway: str
    gateway_key: UUID
    reference: str | None  # of the payment, at the gateway
    charge: UUID  # the payment's gateway key
    amount: int | None  # of a refund
    currency: str
    actor: str = "resolver"

    def settle(self, answer: Answer) -> None:
        """Store the gateway's decision about the operation."""
        STEPS[self.operation].settle(self.resource_id, self.token, answer, actor=self.actor)


def acquire_leases() -> list[Lease]:
    return [Lease(*row) for row in fetch_all(ACQUIRE_LEASES, [settings.LEASE_SECONDS, BATCH_SIZE])]


def acquire_lease(resource_id: UUID, *, actor: str) -> Lease | None:
    """Return the lease of one operation, or None if it is final or another process holds it."""
    row = fetch_one(ACQUIRE_LEASE, [settings.LEASE_SECONDS, resource_id])
    return replace(Lease(*row), actor=actor) if row else None


def resolve_due(threads: ThreadPoolExecutor) -> int:
    """Acquire the leases that are due and resolve their operations. Returns how many there were."""
    return share_out(threads, _resolve_traced, acquire_leases())


def _resolve_traced(lease: Lease) -> None:
    with tracing.task("resolve", {"attempt": lease.attempts}):
        resolve_one(lease)


def resolve_one(lease: Lease) -> str:
    """Ask the gateway once and return the outcome. Without an answer, the next attempt comes after a growing pause."""
    answer = STEPS[lease.operation].cancel(gateways.get(lease.gateway), lease)
    if answer.outcome in ("approved", "declined", "cancelled"):
        lease.settle(answer)
    else:
        pause = growing_pause(lease.attempts, most=MAX_PAUSE_SECONDS)
        Unresolved.objects.release([(lease.resource_id, lease.token)], seconds=pause)
    logger.info(
        "resolution",
        extra={
            "transaction": str(lease.transaction_id),
            "refund": str(lease.refund_id) if lease.refund_id else None,
            "operation": lease.operation,
            "outcome": answer.outcome,
            "attempt": lease.attempts,
        },
    )
    return answer.outcome


def _cancel_refund(gateway: Gateway, lease: Lease) -> Answer:
    assert lease.amount is not None
    return gateway.cancel_refund(
        lease.gateway_key, charge=lease.charge, reference=lease.reference, amount=lease.amount, currency=lease.currency
    )


@dataclass(frozen=True)
class Steps:
    """The two steps that differ between operations."""

    cancel: Callable[[Gateway, Lease], Answer]
    settle: Callable[..., Any]


STEPS = {
    CHARGE.operation: Steps(
        lambda gateway, lease: gateway.cancel_charge(lease.gateway_key), partial(settle_decision, CHARGE)
    ),
    AUTHORIZATION.operation: Steps(
        lambda gateway, lease: gateway.cancel_authorization(lease.gateway_key), partial(settle_decision, AUTHORIZATION)
    ),
    CAPTURE.operation: Steps(
        lambda gateway, lease: gateway.cancel_capture(lease.gateway_key, reference=lease.reference), settle_capture
    ),
    VOID.operation: Steps(
        lambda gateway, lease: gateway.cancel_void(lease.gateway_key, reference=lease.reference), settle_void
    ),
    REFUND.operation: Steps(_cancel_refund, settle_refund),
}


def request_resolution(transaction_ids: Iterable[UUID], *, actor: str) -> int:
    """Let the resolver try these payments, and their captures, voids and refunds, at its next turn.

    Returns how many were waiting.
    """
    waiting = Unresolved.objects.filter(transaction_id__in=list(transaction_ids), lease_token=None)
    asked = 0
    for work in waiting:
        # The resolver may just have taken it.
        if Unresolved.objects.filter(resource_id=work.resource_id, lease_token=None).update(lease_until=Now()):
            Event.objects.create(
                transaction_id=work.transaction_id,
                refund_id=work.refund_id,
                capture_id=work.capture_id,
                void_id=work.void_id,
                kind="resolution_requested",
                actor=actor,
            )
            asked += 1
    return asked
