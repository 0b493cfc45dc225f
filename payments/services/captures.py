"""Captures: reserve a part of the authorization, capture it at the gateway, and post it to the ledger."""

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
from payments.gateway.keys import capture_key
from payments.gateway.registry import gateways
from payments.models import Capture, Transaction
from payments.schemas import CaptureInput
from payments.services.idempotency import KeyTaken, replay_operation, take_key
from payments.services.operations import (
    amount_or_rest,
    lock_authorization,
    lock_payment,
    require_authorized,
    settle,
    settle_or_leave,
    start,
)
from payments.services.results import Result


def create_capture(
    *, merchant_id: int, transaction_id: UUID, key: str, body: CaptureInput, actor: str = "api"
) -> Result:
    """Capture `body.amount`, or all that is left, or replay it if `key` was used before.

    Raises NotFound; Conflict if the payment is not authorized, or if an operation in progress excludes the capture;
    InvalidRequest if less is left.
    """
    try:
        with tracing.step("reserve", tracing.DATABASE, kind="client"):
            capture, lease_token = _reserve(merchant_id, transaction_id, key, body, actor)
    except KeyTaken:
        return replay_operation(Capture, merchant_id, key, transaction_id, body)
    metrics.RESULT["new"].inc()
    return carry_out(capture, lease_token, actor)


def carry_out(capture: Capture, lease_token: UUID, actor: str) -> Result:
    """Capture at the gateway what is reserved, and settle the answer."""
    connection.close()  # the gateway may take seconds
    payment = capture.transaction
    answer = gateways.get(payment.gateway).capture(
        capture.gateway_key,
        authorization=payment.gateway_key,
        reference=payment.gateway_reference,
        amount=capture.amount,
        currency=payment.currency,
        final=capture.final,
    )
    settle_or_leave(capture, partial(settle, capture, lease_token, answer, actor=actor))
    return Result(capture, gateway_seconds=answer.seconds)


def settle_capture(capture_id: UUID, lease_token: UUID, answer: Answer, *, actor: str) -> None:
    settle(Capture.objects.get(id=capture_id), lease_token, answer, actor=actor)


@atomic
def _reserve(merchant_id: int, transaction_id: UUID, key: str, body: CaptureInput, actor: str) -> tuple[Capture, UUID]:
    """Take the key and reserve the amount, or do neither."""
    payment = lock_payment(merchant_id, transaction_id)
    capture_id = uuid7()
    take_key(merchant_id, key, capture_id, "capture")
    require_authorized(payment, "captured")
    return reserve(payment, capture_id, key, body, actor)


def reserve(payment: Transaction, capture_id: UUID, key: str, body: CaptureInput, actor: str) -> tuple[Capture, UUID]:
    """Start a capture of a locked payment whose key is taken. Returns it with its lease's token."""
    held = lock_authorization(payment)
    if body.final and held.amount_reserved:
        raise Conflict("capture_in_progress", "Another capture is in progress: send the final one after it.")
    left = held.amount_left - held.amount_reserved
    capture = Capture(
        id=capture_id,
        transaction=payment,
        idempotency_key=key,
        amount=amount_or_rest(body.amount, left, currency=held.currency, purpose="capture"),
        amount_requested=body.amount,
        final=body.final,
        gateway_key=capture_key(payment.gateway_key, key),
        status=Capture.Status.PROCESSING,
        request_id=request_id.get(),
    )
    held.amount_reserved += capture.amount
    held.closing_id = capture_id if body.final else None
    held.save(update_fields=["amount_reserved", "closing_id"])
    return capture, start(capture, actor)
