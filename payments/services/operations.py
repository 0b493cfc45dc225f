"""The steps that captures, voids, refunds and reviews share: lock the payment, take the key, start, settle.

Each locks the payment's row first, and captures and voids its authorization's row second, so the database puts them in
order.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now
from django.db.transaction import atomic
from uuid_utils.compat import uuid7

from fintech.errors import DATABASE_ERRORS
from fintech.telemetry import tracing
from payments import metrics
from payments.errors import Conflict, InvalidRequest, NotFound
from payments.gateway.base import Answer
from payments.gateway.registry import gateways
from payments.ledger.postings import legs_of
from payments.models import Authorization, Capture, Event, LedgerLeg, Refund, Review, Transaction, Unresolved, Void
from payments.services.idempotency import KeyTaken, replay_operation, take_key
from payments.services.outcomes import journal_of, settled_row
from payments.services.results import CarryOut, Result
from payments.storage.group_commit import writer
from payments.storage.payment_sql import Part

logger = logging.getLogger("payments")

Operation = Capture | Void | Refund
SomeOperation = TypeVar("SomeOperation", Capture, Void, Refund)
CaptureOrVoid = TypeVar("CaptureOrVoid", Capture, Void)

IS_EXPIRED = ExpressionWrapper(Q(capture_before__lte=Now()), output_field=BooleanField())


@dataclass(frozen=True)
class Request:
    """A request for an operation on a payment."""

    merchant_id: int
    transaction_id: UUID
    key: str
    body: Any
    actor: str


# Stores the first step of an operation with this id on a locked payment.
Begin = Callable[[Transaction, UUID, Request], CarryOut]


def lock_payment(merchant_id: int, transaction_id: UUID) -> Transaction:
    """Raises NotFound if the merchant has no such payment."""
    payment = Transaction.objects.select_for_update().for_merchant(merchant_id).filter(id=transaction_id).first()
    if payment is None:
        raise NotFound
    return payment


def create_or_replay(model: type[Capture | Void | Refund | Review], begin: Begin, request: Request) -> Result:
    """Begin an operation and carry it out, or replay it if its key was used before.

    Raises NotFound if the merchant has no such payment, and what `begin` raises.
    """
    try:
        with tracing.step("reserve", tracing.DATABASE, kind="client"):
            carry_out = take_key_and_begin(model, begin, request)
    except KeyTaken:
        return replay_operation(model, request.merchant_id, request.key, request.transaction_id, request.body)
    metrics.RESULT["new"].inc()
    return carry_out()


@atomic
def take_key_and_begin(model: type[Capture | Void | Refund | Review], begin: Begin, request: Request) -> CarryOut:
    """Lock the payment, take the key and store the first step, or do nothing. Raises KeyTaken, or GatewayError if the
    payment's gateway is not configured any more.
    """
    payment, operation_id = lock_payment(request.merchant_id, request.transaction_id), uuid7()
    take_key(request.merchant_id, request.key, operation_id, model.__name__.lower())
    carry_out = begin(payment, operation_id, request)
    gateways.get(payment.gateway)  # before the commit: no amount stays reserved
    return carry_out


def require_authorized(payment: Transaction, purpose: str) -> None:
    if payment.status == Transaction.Status.IN_REVIEW:
        raise Conflict("in_review", f"A transaction in review cannot be {purpose}: accept or refuse it first.")
    if payment.status != Transaction.Status.AUTHORIZED:
        raise Conflict("not_authorized", f"A transaction that is {payment.status} cannot be {purpose}.")


def lock_authorization(payment: Transaction, *, may_be_expired: bool = False) -> Authorization:
    """Return what the locked payment holds.

    Raises Conflict if a final capture or a void is under way, or if its time is over.
    """
    held = Authorization.objects.select_for_update().annotate(is_expired=IS_EXPIRED).get(transaction_id=payment.id)
    if held.closing_id is not None:
        raise Conflict("authorization_closing", "A void or a final capture of this transaction is in progress.")
    if held.is_expired and not may_be_expired:
        raise Conflict("authorization_expired", "The authorization has expired: its amount is being released.")
    return held


def amount_or_rest(requested: int | None, left: int, *, currency: str, purpose: str) -> int:
    """Return the requested amount, or all that is left. Raises InvalidRequest if less is left, or nothing."""
    amount = left if requested is None else requested
    if not 0 < amount <= left:
        detail = f"{left} is left to {purpose}, in minor units of {currency}."
        raise InvalidRequest("amount_exceeds_remaining", detail, param="amount")
    return amount


def start(operation: Operation, actor: str) -> UUID:
    """Store a new operation with its event and its lease. Returns the lease's token."""
    lease_token = uuid4()
    operation.save(force_insert=True)
    operation.refresh_from_db(fields=["created_at"])
    record(operation, operation.status, actor, {"amount": operation.amount})
    Unresolved.objects.create(
        resource_id=operation.id,
        lease_token=lease_token,
        lease_until=Now() + timedelta(seconds=settings.LEASE_SECONDS),
        **operation.references,
    )
    return lease_token


def record(operation: Operation, status: str, actor: str, data: Any) -> Event:
    kind = operation.LIFECYCLE.event_kind(status)
    return Event.objects.create(kind=kind, actor=actor, data=data, **operation.references)


def post(event: Event, payment: Transaction, *, amount: int, fee: int = 0) -> None:
    LedgerLeg.objects.bulk_create(
        LedgerLeg(event=event, transaction=payment, account=account, currency=payment.currency, amount=value)
        for account, value in legs_of(event.kind, amount=amount, fee=fee)
    )


def settle(operation: CaptureOrVoid, lease_token: UUID, answer: Answer, *, actor: str) -> CaptureOrVoid:
    """Store the gateway's answer if the lease is still ours. Returns the operation as it is stored."""
    if operation.LIFECYCLE.outcomes[answer.outcome] == operation.Status.UNKNOWN:
        _mark_unknown(operation, lease_token, answer, actor)
    else:
        part = Part.CAPTURED if isinstance(operation, Capture) else Part.VOIDED
        writer.write(part, [settled_row(operation.LIFECYCLE, operation.id, lease_token, answer, actor=actor)])
    operation.refresh_from_db(fields=["status", "failure_code", "gateway_reference", "settled_at"])
    return operation


@atomic
def _mark_unknown(operation: Capture | Void, lease_token: UUID, answer: Answer, actor: str) -> None:
    """Release the lease to the resolver, then mark the operation: the order of locks in the statements."""
    if not Unresolved.objects.select_for_update().filter(resource_id=operation.id, lease_token=lease_token).exists():
        return
    Unresolved.objects.release([(operation.id, lease_token)])
    rows = type(operation).objects.filter(id=operation.id, status=operation.Status.PROCESSING)
    if rows.update(status=operation.Status.UNKNOWN):
        record(operation, operation.Status.UNKNOWN, actor, journal_of(answer))


def settle_or_leave(operation: SomeOperation, settle: Callable[[], SomeOperation]) -> SomeOperation:
    """Settle an operation for a request, without raising an error, because the money may have moved.

    After an error the operation is unknown, and the resolver finishes it.
    """
    try:
        with tracing.step("settle", tracing.DATABASE, kind="client"):
            operation = settle()
    except Exception as error:
        trace = None if isinstance(error, DATABASE_ERRORS) else error
        extra = {operation.LIFECYCLE.operation: str(operation.id), "error": type(error).__name__}
        logger.warning("settle_failed", exc_info=trace, extra=extra)
        operation.status = operation.Status.UNKNOWN
    if operation.status in (operation.Status.FAILED, operation.Status.UNKNOWN):
        tracing.keep()
    return operation
