"""Voids: release what an authorization still holds."""

from functools import partial
from uuid import UUID

from django.db import connection

from fintech.telemetry.logging import request_id
from payments.errors import Conflict
from payments.gateway.base import Answer
from payments.gateway.keys import void_key
from payments.gateway.registry import gateways
from payments.models import Transaction, Void
from payments.schemas import VoidInput
from payments.services import operations
from payments.services.results import CarryOut, Result


def create_void(*, merchant_id: int, transaction_id: UUID, key: str, body: VoidInput, actor: str = "api") -> Result:
    """Release what is not captured, or replay it if `key` was used before.

    Raises NotFound, or Conflict unless the payment is authorized and no capture is in progress.
    """
    request = operations.Request(merchant_id, transaction_id, key, body, actor)
    return operations.create_or_replay(Void, begin_void, request)


def begin_void(payment: Transaction, void_id: UUID, request: operations.Request) -> CarryOut:
    operations.require_authorized(payment, "voided")
    return close(payment, void_id, request.key, request.body.reason, request.actor)


def release(void: Void, lease_token: UUID, actor: str) -> Result:
    """Release at the gateway what is still held, and settle the answer."""
    connection.close()  # the gateway may take seconds
    payment = void.transaction
    answer = gateways.get(payment.gateway).void(
        void.gateway_key, authorization=payment.gateway_key, reference=payment.gateway_reference
    )
    operations.settle_or_leave(void, partial(operations.settle, void, lease_token, answer, actor=actor))
    return Result(void, gateway_seconds=answer.seconds)


def settle_void(void_id: UUID, lease_token: UUID, answer: Answer, *, actor: str) -> None:
    operations.settle(Void.objects.get(id=void_id), lease_token, answer, actor=actor)


def close(payment: Transaction, void_id: UUID, key: str | None, reason: str | None, actor: str) -> CarryOut:
    """Close the authorization of a locked payment, whose key is taken, for other operations. Returns the rest."""
    held = operations.lock_authorization(payment, may_be_expired=True)
    if held.amount_reserved:
        raise Conflict("capture_in_progress", "A capture of this transaction is in progress: void it afterwards.")
    held.closing_id = void_id
    held.save(update_fields=["closing_id"])
    void = Void(
        id=void_id,
        transaction=payment,
        idempotency_key=key,
        amount=held.amount_left,
        gateway_key=void_key(payment.gateway_key, key or str(void_id)),
        reason=reason,
        status=Void.Status.PROCESSING,
        request_id=request_id.get(),
    )
    return partial(release, void, operations.start(void, actor), actor)
