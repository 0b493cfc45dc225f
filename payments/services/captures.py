"""Captures: reserve a part of the authorization, capture it at the gateway, and post it to the ledger."""

from contextlib import suppress
from functools import partial
from uuid import UUID

from django.db import connection

from fintech.errors import DATABASE_ERRORS
from fintech.telemetry.logging import request_id
from payments.errors import Conflict
from payments.gateway.base import Answer
from payments.gateway.keys import capture_key
from payments.gateway.registry import gateways
from payments.models import Capture, Transaction
from payments.schemas import CaptureInput
from payments.services import operations
from payments.services.authorization_expiry import void_one
from payments.services.results import CarryOut, Result

# The failure of a capture whose authorization the gateway holds no more.
EXPIRED = "authorization_expired"


def create_capture(
    *, merchant_id: int, transaction_id: UUID, key: str, body: CaptureInput, actor: str = "api"
) -> Result:
    """Capture `body.amount`, or all that is left, or replay it if `key` was used before.

    Raises NotFound; Conflict if the payment is not authorized, or if an operation in progress excludes the capture;
    InvalidRequest if less is left.
    """
    request = operations.Request(merchant_id, transaction_id, key, body, actor)
    return operations.create_or_replay(Capture, begin_capture, request)


def begin_capture(payment: Transaction, capture_id: UUID, request: operations.Request) -> CarryOut:
    operations.require_authorized(payment, "captured")
    return reserve(payment, capture_id, request.key, request.body, request.actor)


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
    operations.settle_or_leave(capture, partial(operations.settle, capture, lease_token, answer, actor=actor))
    _release_if_expired(capture)
    return Result(capture, gateway_seconds=answer.seconds)


def settle_capture(capture_id: UUID, lease_token: UUID, answer: Answer, *, actor: str) -> None:
    capture = Capture.objects.select_related("transaction").get(id=capture_id)
    _release_if_expired(operations.settle(capture, lease_token, answer, actor=actor))


def _release_if_expired(capture: Capture) -> None:
    """Void an authorization that has expired at the gateway before our own time."""
    if capture.failure_code == EXPIRED:
        with suppress(*DATABASE_ERRORS):  # at worst, the worker voids it at our time
            void_one(capture.transaction.merchant_id, capture.transaction_id)


def reserve(payment: Transaction, capture_id: UUID, key: str, body: CaptureInput, actor: str) -> CarryOut:
    """Start a capture of a locked payment whose key is taken. Returns the rest of it."""
    held = operations.lock_authorization(payment)
    if body.final and held.amount_reserved:
        raise Conflict("capture_in_progress", "Another capture is in progress: send the final one after it.")
    left = held.amount_left - held.amount_reserved
    capture = Capture(
        id=capture_id,
        transaction=payment,
        idempotency_key=key,
        amount=operations.amount_or_rest(body.amount, left, currency=held.currency, purpose="capture"),
        amount_requested=body.amount,
        final=body.final,
        gateway_key=capture_key(payment.gateway_key, key),
        status=Capture.Status.PROCESSING,
        request_id=request_id.get(),
    )
    held.amount_reserved += capture.amount
    held.closing_id = capture_id if body.final else None
    held.save(update_fields=["amount_reserved", "closing_id"])
    return partial(carry_out, capture, operations.start(capture, actor), actor)
