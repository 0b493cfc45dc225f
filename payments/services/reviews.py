"""Reviews: an operator accepts or refuses a payment that is held because it looks like fraud.

An accepted payment is captured, or authorized if the merchant captures it. A refused one is voided. Without a decision,
the payment is voided when its authorization expires. After a capture or void that fails it stays in review.
"""

from functools import partial
from uuid import UUID

from fintech.telemetry.logging import request_id
from payments.errors import Conflict
from payments.models import Event, Review, Transaction
from payments.schemas import CaptureInput, ReviewInput
from payments.services import captures, voids
from payments.services.operations import Request, create_or_replay, lock_authorization
from payments.services.results import CarryOut, Result


def decide_review(*, merchant_id: int, transaction_id: UUID, key: str, body: ReviewInput, actor: str = "api") -> Result:
    """Accept or refuse a payment in review, or replay the decision if `key` was used before.

    Raises NotFound; Conflict unless the payment waits for a review and no other decision is in progress.
    """
    request = Request(merchant_id, transaction_id, key, body, actor)
    return create_or_replay(Review, begin_decision, request)


def begin_decision(payment: Transaction, review_id: UUID, request: Request) -> CarryOut:
    """Store the decision, and the first step of the capture or void that it needs."""
    if payment.status != Transaction.Status.IN_REVIEW:
        raise Conflict("not_in_review", f"A transaction that is {payment.status} is not in review.")
    review = Review(
        id=review_id,
        transaction=payment,
        idempotency_key=request.key,
        decision=request.body.decision,
        reason=request.body.reason,
        actor=request.actor,
        request_id=request_id.get(),
    )
    review.save(force_insert=True)
    review.refresh_from_db(fields=["created_at"])
    Event.objects.create(
        transaction=payment, kind=review.event_kind, actor=request.actor, data={"reason": request.body.reason}
    )
    return partial(_carry_out, review, _begin_operation(review, payment, request.actor))


def _begin_operation(review: Review, payment: Transaction, actor: str) -> CarryOut | None:
    """Begin the capture or void that the decision needs, under the id of the review."""
    if review.decision == Review.Decision.REFUSE:
        return voids.close(payment, review.id, review.idempotency_key, review.reason, actor)
    if payment.review == Transaction.Review.CAPTURE:
        return captures.reserve(payment, review.id, review.idempotency_key, CaptureInput(), actor)
    lock_authorization(payment)
    payment.status = Transaction.Status.AUTHORIZED
    payment.save(update_fields=["status"])
    Event.objects.create(transaction=payment, kind=payment.status, actor=actor)
    return None


def _carry_out(review: Review, operation: CarryOut | None) -> Result:
    if operation is None:
        return Result(review)
    outcome = operation()
    review.operation = outcome.operation  # type: ignore[assignment]  # the capture or void
    return Result(review, gateway_seconds=outcome.gateway_seconds)
