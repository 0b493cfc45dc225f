"""Refunds: reserve under the payment's row lock, refund at the gateway, settle. Races cannot exceed the payment."""

from functools import partial
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now
from django.db.transaction import atomic, on_commit

from fintech.telemetry.logging import request_id
from payments import metrics
from payments.errors import Conflict
from payments.gateway.base import Answer
from payments.gateway.keys import refund_key
from payments.gateway.registry import gateways
from payments.models import Event, Refund, Transaction, Unresolved
from payments.schemas import RefundInput
from payments.services import operations
from payments.services.disputes import refuse_if_disputed
from payments.services.outcomes import journal_of
from payments.services.results import CarryOut, Result
from payments.states import REFUND


def create_refund(*, merchant_id: int, transaction_id: UUID, key: str, body: RefundInput, actor: str = "api") -> Result:
    """Give back `body.amount`, or all that remains, or replay it if `key` was used before.

    Raises NotFound, Conflict if the payment did not succeed or is disputed, InvalidRequest if less remains.
    """
    request = operations.Request(merchant_id, transaction_id, key, body, actor)
    return operations.create_or_replay(Refund, begin_refund, request)


def begin_refund(payment: Transaction, refund_id: UUID, request: operations.Request) -> CarryOut:
    """Reserve the amount."""
    if (
        payment.status not in (Transaction.Status.SUCCEEDED, Transaction.Status.AUTHORIZED)
        or not payment.amount_captured
    ):
        detail = f"A transaction that is {payment.status} cannot be refunded."
        raise Conflict("not_refundable", detail)
    refuse_if_disputed(payment)
    left = payment.amount_captured - payment.amount_reserved
    amount = operations.amount_or_rest(request.body.amount, left, currency=payment.currency, purpose="refund")
    payment.amount_reserved += amount
    payment.save(update_fields=["amount_reserved"])
    refund = Refund(
        id=refund_id,
        transaction=payment,
        idempotency_key=request.key,
        amount=amount,
        amount_requested=request.body.amount,
        gateway_key=refund_key(payment.gateway_key, request.key),
        reason=request.body.reason,
        status=Refund.Status.PROCESSING,
        request_id=request_id.get(),
    )
    return partial(_carry_out, refund, operations.start(refund, request.actor), request.actor)


def _carry_out(refund: Refund, lease_token: UUID, actor: str) -> Result:
    connection.close()  # the gateway may take seconds
    payment = refund.transaction
    answer = gateways.get(payment.gateway).refund(
        refund.gateway_key,
        charge=payment.gateway_key,
        reference=payment.gateway_reference,
        amount=refund.amount,
        currency=payment.currency,
    )
    refund = operations.settle_or_leave(refund, partial(settle_refund, refund.id, lease_token, answer, actor=actor))
    return Result(refund, gateway_seconds=answer.seconds)


@atomic
def settle_refund(refund_id: UUID, lease_token: UUID, answer: Answer, *, actor: str) -> Refund:
    """Store the gateway's answer if the lease is still ours. Returns the stored refund."""
    refund = Refund.objects.get(id=refund_id)
    payment = Transaction.objects.select_for_update().get(id=refund.transaction_id)
    refund = Refund.objects.select_for_update().get(id=refund_id)
    refund.transaction = payment
    status = REFUND.outcomes[answer.outcome]
    lease = Unresolved.objects.filter(resource_id=refund_id, lease_token=lease_token)
    if refund.is_final or not lease.select_for_update().exists():
        return refund
    if status == Refund.Status.UNKNOWN:
        Unresolved.objects.release([(refund_id, lease_token)])
        if refund.status != status:
            refund.status = status
            refund.save(update_fields=["status"])
            operations.record(refund, status, actor, journal_of(answer))
        return refund
    lease.delete()
    refund.status = status
    refund.failure_code = answer.failure_code
    refund.gateway_reference = answer.reference
    refund.settled_at = Now()
    refund.save(update_fields=["status", "failure_code", "gateway_reference", "settled_at"])
    refund.refresh_from_db(fields=["settled_at"])
    event = operations.record(refund, status, actor, journal_of(answer))
    _book(payment, refund, event)
    on_commit(metrics.REFUND_STATUS[status].inc)
    return refund


def _book(payment: Transaction, refund: Refund, event: Event) -> None:
    """Post a refund that succeeded; release the reservation of one that failed."""
    if refund.status == Refund.Status.FAILED:
        payment.amount_reserved -= refund.amount
        payment.save(update_fields=["amount_reserved"])
        return
    payment.amount_refunded += refund.amount
    payment.save(update_fields=["amount_refunded"])
    operations.post(event, payment, amount=refund.amount)
