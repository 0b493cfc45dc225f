"""Voids: release what an authorization still holds, for the merchant, or because its time is over."""

from uuid import UUID

from django.db import connection
from django.db.models.functions import Now
from django.db.transaction import atomic
from uuid_utils.compat import uuid7

from fintech.telemetry import tracing
from fintech.telemetry.logging import request_id
from payments import metrics
from payments.errors import Conflict, PaymentError
from payments.gateway.base import Answer
from payments.gateway.keys import void_key
from payments.gateway.registry import gateways
from payments.models import Authorization, Void
from payments.schemas import VoidInput
from payments.services.authorizations import (
    lock_authorization,
    lock_payment,
    settle,
    settle_or_leave,
    start,
)
from payments.services.idempotency import KeyTaken, replay_operation, take_key
from payments.services.outcomes import Outcome
from payments.settlement.group_commit import writer

# The authorizations that one turn of the worker voids.
BATCH_SIZE = 100
EXPIRED = "The authorization expired."
EXPIRY_ACTOR = "expiry"


def create_void(*, merchant_id: int, transaction_id: UUID, key: str, body: VoidInput, actor: str = "api") -> Outcome:
    """Release what is not captured, or replay it if `key` was used before.

    Raises NotFound, or Conflict unless the payment is authorized and no capture is in progress.
    """
    try:
        with tracing.step("reserve", tracing.DATABASE, kind="client"):
            void, lease_token = _reserve(merchant_id, transaction_id, key, body.reason, actor)
    except KeyTaken:
        return replay_operation(Void, merchant_id, key, transaction_id, body)
    metrics.RESULT["new"].inc()
    return _release(void, lease_token, actor)


def void_expired() -> int:
    """Void authorizations whose time is over. Returns how many there were.

    Those with an operation in progress wait for the next turn.
    """
    due = Authorization.objects.filter(capture_before__lte=Now(), closing_id=None, amount_reserved=0)
    rows = due.order_by("capture_before").values_list("transaction_id", "transaction__merchant_id")[:BATCH_SIZE]
    voided = 0
    for transaction_id, merchant_id in list(rows):
        try:
            void, lease_token = _reserve(merchant_id, transaction_id, None, EXPIRED, EXPIRY_ACTOR)
        except PaymentError:  # captured, voided or in progress meanwhile
            continue
        _release(void, lease_token, EXPIRY_ACTOR)
        voided += 1
    return voided


def _release(void: Void, lease_token: UUID, actor: str) -> Outcome:
    connection.close()  # the gateway may take seconds
    payment = void.transaction
    answer = gateways.get(payment.gateway).void(
        void.gateway_key, authorization=payment.gateway_key, reference=payment.gateway_reference
    )
    settle_or_leave(void, lease_token, answer, write=writer.settle_voids, actor=actor)
    return Outcome(void, gateway_seconds=answer.seconds)


def settle_void(void_id: UUID, lease_token: UUID, answer: Answer, *, actor: str) -> None:
    settle(Void.objects.get(id=void_id), lease_token, answer, write=writer.settle_voids, actor=actor)


@atomic
def _reserve(
    merchant_id: int, transaction_id: UUID, key: str | None, reason: str | None, actor: str
) -> tuple[Void, UUID]:
    """Take the key and close the authorization for other operations, or do neither."""
    payment = lock_payment(merchant_id, transaction_id)
    void_id = uuid7()
    if key is not None:
        take_key(merchant_id, key, void_id, "void")
    held, _ = lock_authorization(payment, "voided")
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
