"""Reviews: an operator accepts or refuses a payment that is held because it looks like fraud.

An accepted payment is captured, or authorized if the merchant captures it. A refused one is voided. Without a decision,
the payment is voided when its authorization expires. After a capture or void that fails it stays in review.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.db.transaction import atomic
from uuid_utils.compat import uuid7

from fintech.telemetry import tracing
from fintech.telemetry.logging import request_id
from payments import metrics
from payments.errors import Conflict
from payments.models import Event, Review, Transaction
from payments.schemas import CaptureInput, ReviewInput
from payments.services import captures, voids
from payments.services.idempotency import KeyTaken, replay_operation, take_key
from payments.services.operations import lock_authorization, lock_payment
from payments.services.results import Result

CarryOut = Callable[[], Result]


def decide_review(*, merchant_id: int, transaction_id: UUID, key: str, body: ReviewInput, actor: str = "api") -> Result:
    """Accept or refuse a payment in review, or replay the decision if `key` was used before.

    Raises NotFound; Conflict unless the payment waits for a review and no other decision is in progress.
    """
    try:
        with tracing.step("reserve", tracing.DATABASE, kind="client"):
            review, carry_out = _decide(merchant_id, transaction_id, key, body, actor)
    except KeyTaken:
        return replay_operation(Review, merchant_id, key, transaction_id, body)
    metrics.RESULT["new"].inc()
    outcome = carry_out() if carry_out else None
    return Result(review, gateway_seconds=outcome.gateway_seconds if outcome else 0.0)


@atomic
def _decide(
    merchant_id: int, transaction_id: UUID, key: str, body: ReviewInput, actor: str
) -> tuple[Review, CarryOut | None]:
    """Store the decision with the first step of what it brings about, or neither. Returns the rest of that."""
    payment = lock_payment(merchant_id, transaction_id)
    review = Review(
        id=uuid7(),
        transaction=payment,
        idempotency_key=key,
        decision=body.decision,
        reason=body.reason,
        actor=actor,
        request_id=request_id.get(),
    )
    take_key(merchant_id, key, review.id, "review")
    if payment.status != Transaction.Status.IN_REVIEW:
        raise Conflict("not_in_review", f"A transaction that is {payment.status} is not in review.")
    review.save(force_insert=True)
    review.refresh_from_db(fields=["created_at"])
    Event.objects.create(transaction=payment, kind=review.event_kind, actor=actor, data={"reason": body.reason})
    return review, _begin(review, payment, actor)


def _begin(review: Review, payment: Transaction, actor: str) -> CarryOut | None:
    """Reserve the capture or void that the decision needs, under the id of the review."""
    if review.decision == Review.Decision.REFUSE:
        void, token = voids.reserve(payment, review.id, review.idempotency_key, review.reason, actor)
        review.operation = void
        return partial(voids.release, void, token, actor)
    if payment.review == Transaction.Review.CAPTURE:
        capture, token = captures.reserve(payment, review.id, review.idempotency_key, CaptureInput(), actor)
        review.operation = capture
        return partial(captures.carry_out, capture, token, actor)
    lock_authorization(payment)
    payment.status = Transaction.Status.AUTHORIZED
    payment.save(update_fields=["status"])
    Event.objects.create(transaction=payment, kind=payment.status, actor=actor)
    return None
