"""Voids: release what an authorization still holds."""

from functools import partial
from uuid import UUID

from django.db import connection
from django.db.transaction import atomic
from uuid_utils.compat import uuid7

from fintech.telemetry import tracing
from fintech.telemetry.logging import request_id
from payments import metrics
from payments.errors import Conflict
from payments.gateway.base import Answer
from payments.gateway.keys import void_key
from payments.gateway.registry import gateways
from payments.models import Transaction, Void
from payments.schemas import VoidInput
from payments.services.idempotency import KeyTaken, replay_operation, take_key
from payments.services.operations import (
    lock_authorization,
    lock_payment,
    require_authorized,
    settle,
    settle_or_leave,
    start,
)
from payments.services.results import Result


def create_void(*, merchant_id: int, transaction_id: UUID, key: str, body: VoidInput, actor: str = "api") -> Result:
    """Release what is not captured, or replay it if `key` was used before.

    Raises NotFound, or Conflict unless the payment is authorized and no capture is in progress.
    """
    try:
        with tracing.step("reserve", tracing.DATABASE, kind="client"):
            void, lease_token = _reserve(merchant_id, transaction_id, key, body.reason, actor)
    except KeyTaken:
        return replay_operation(Void, merchant_id, key, transaction_id, body)
    metrics.RESULT["new"].inc()
    return release(void, lease_token, actor)


def release(void: Void, lease_token: UUID, actor: str) -> Result:
    """Release at the gateway what is still held, and settle the answer."""
    connection.close()  # the gateway may take seconds
    payment = void.transaction
    answer = gateways.get(payment.gateway).void(
        void.gateway_key, authorization=payment.gateway_key, reference=payment.gateway_reference
    )
    settle_or_leave(void, partial(settle, void, lease_token, answer, actor=actor))
    return Result(void, gateway_seconds=answer.seconds)


def settle_void(void_id: UUID, lease_token: UUID, answer: Answer, *, actor: str) -> None:
    settle(Void.objects.get(id=void_id), lease_token, answer, actor=actor)


@atomic
def _reserve(merchant_id: int, transaction_id: UUID, key: str, reason: str | None, actor: str) -> tuple[Void, UUID]:
    """Take the key and close the authorization for other operations, or do neither."""
    payment = lock_payment(merchant_id, transaction_id)
    void_id = uuid7()
    take_key(merchant_id, key, void_id, "void")
    require_authorized(payment, "voided")
    return reserve(payment, void_id, key, reason, actor)


def reserve(payment: Transaction, void_id: UUID, key: str | None, reason: str | None, actor: str) -> tuple[Void, UUID]:
    """Start a void of a locked payment whose key is taken. Returns it with its lease's token."""
    held = lock_authorization(payment, may_be_expired=True)
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
    return void, start(void, actor)
