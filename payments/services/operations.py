"""The steps that captures and voids share: lock the authorization, start an operation, settle it.

Both lock the payment's row first and its authorization's row second, so the database puts them in order.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now
from django.db.transaction import atomic

from fintech.errors import DATABASE_ERRORS
from fintech.telemetry import tracing
from payments.errors import Conflict, NotFound
from payments.gateway.base import Answer
from payments.models import Authorization, Capture, Event, Transaction, Unresolved, Void
from payments.services.charges import journal_of
from payments.states import CAPTURE, VOID

logger = logging.getLogger("payments")

IS_EXPIRED = ExpressionWrapper(Q(capture_before__lte=Now()), output_field=BooleanField())


def lock_payment(merchant_id: int, transaction_id: UUID) -> Transaction:
    """Raises NotFound if the merchant has no such payment."""
    payment = Transaction.objects.select_for_update().for_merchant(merchant_id).filter(id=transaction_id).first()
    if payment is None:
        raise NotFound
    return payment


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


def start(operation: Capture | Void, actor: str) -> UUID:
    """Store a new operation with its event and its lease. Returns the lease's token."""
    ids = {"capture_id": operation.id} if isinstance(operation, Capture) else {"void_id": operation.id}
    lease_token = uuid4()
    operation.save(force_insert=True)
    operation.refresh_from_db(fields=["created_at"])
    record(operation, operation.status, actor, {"amount": operation.amount})
    Unresolved.objects.create(
        resource_id=operation.id,
        transaction_id=operation.transaction_id,
        lease_token=lease_token,
        lease_until=Now() + timedelta(seconds=settings.LEASE_SECONDS),
        **ids,
    )
    return lease_token


def record(operation: Capture | Void, status: str, actor: str, data: Any) -> None:
    is_capture = isinstance(operation, Capture)
    Event.objects.create(
        transaction_id=operation.transaction_id,
        capture_id=operation.id if is_capture else None,
        void_id=None if is_capture else operation.id,
        kind=(CAPTURE if is_capture else VOID).event_kind(status),
        actor=actor,
        data=data,
    )


Write = Callable[[list[dict[str, Any]]], dict[UUID, Any]]


def settle(operation: Capture | Void, lease_token: UUID, answer: Answer, *, write: Write, actor: str) -> None:
    """Store the gateway's answer by the statement `write`, if the lease is still ours. Refreshes the operation."""
    status = (CAPTURE if isinstance(operation, Capture) else VOID).outcomes[answer.outcome]
    if status == operation.Status.UNKNOWN:
        _mark_unknown(operation, lease_token, answer, actor)
    else:
        row = {
            "id": operation.id,
            "lease_token": lease_token,
            "status": status,
            "failure_code": answer.failure_code,
            "gateway_reference": answer.reference,
            "actor": actor,
            "data": journal_of(answer),
        }
        write([row])
    operation.refresh_from_db(fields=["status", "failure_code", "gateway_reference", "settled_at"])


@atomic
def _mark_unknown(operation: Capture | Void, lease_token: UUID, answer: Answer, actor: str) -> None:
    """Release the lease to the resolver, then mark the operation: the order of locks in the statements."""
    if not Unresolved.objects.select_for_update().filter(resource_id=operation.id, lease_token=lease_token).exists():
        return
    Unresolved.objects.release([(operation.id, lease_token)])
    rows = type(operation).objects.filter(id=operation.id, status=operation.Status.PROCESSING)
    if rows.update(status=operation.Status.UNKNOWN):
        record(operation, operation.Status.UNKNOWN, actor, journal_of(answer))


def settle_or_leave(operation: Capture | Void, lease_token: UUID, answer: Answer, *, write: Write, actor: str) -> None:
    """Settle an operation for a request, without raising an error, because the money may have moved.

    After an error the resolver finishes the operation.
    """
    try:
        with tracing.step("settle", tracing.DATABASE, kind="client"):
            settle(operation, lease_token, answer, write=write, actor=actor)
    except Exception as error:
        trace = None if isinstance(error, DATABASE_ERRORS) else error
        kind = type(operation).__name__.lower()
        extra = {kind: str(operation.id), "error": type(error).__name__}
        logger.warning("settle_failed", exc_info=trace, extra=extra)
        operation.status = operation.Status.UNKNOWN
    if operation.status in (operation.Status.FAILED, operation.Status.UNKNOWN):
        tracing.keep()
