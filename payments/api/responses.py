"""The one place that turns outcomes and errors into HTTP: 201, 202, 200, 409 and problem documents."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fintech.http.problems import Problem
from payments import errors, schemas
from payments.models import Capture, Refund, Review, Void
from payments.serializers import (
    serialize_capture,
    serialize_payment,
    serialize_refund,
    serialize_review,
    serialize_void,
)
from payments.services.results import PaymentData, Result
from payments.states import CHARGE, ChargeStatus

# The resolver settles within seconds.
RETRY_SECONDS = 2
OPEN = (*CHARGE.open, ChargeStatus.REQUIRES_ACTION)

STATUS_CODES: dict[type[errors.PaymentError], int] = {
    errors.MalformedRequest: 400,
    errors.InvalidRequest: 422,
    errors.KeyReused: 422,
    errors.AuthenticationFailed: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InFlight: 409,
    errors.Unavailable: 503,
}


SERIALIZERS: dict[type, Callable[[Any], Any]] = {
    Refund: serialize_refund,
    Capture: serialize_capture,
    Void: serialize_void,
    Review: serialize_review,
}
Body = schemas.Payment | schemas.CaptureOutput | schemas.VoidOutput | schemas.RefundOutput | schemas.ReviewOutput


@dataclass(slots=True)
class Reply:
    """An answer before it is encoded."""

    status_code: int
    body: Body
    headers: dict[str, str] = field(default_factory=dict)


def reply_to(outcome: Result) -> Reply:
    """Answer 201 to a new known outcome, 200 to a replayed one, and 202 while it is open, as a challenge is."""
    is_known, is_replay = outcome.operation.status not in OPEN, outcome.is_replay
    headers = {}
    if not (is_replay and is_known):
        headers["Location"] = location_of(outcome.operation)
    if not is_known:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if is_replay:
        headers["Idempotency-Replayed"] = "true"
    return Reply(status_code_of(outcome), serialize(outcome), headers)


def status_code_of(outcome: Result) -> int:
    if outcome.operation.status in OPEN:
        return 202
    return 200 if outcome.is_replay else 201


def serialize(outcome: Result) -> Body:
    return SERIALIZERS.get(type(outcome.operation), serialize_payment)(outcome.operation)


def location_of(operation: PaymentData | Capture | Void | Refund | Review) -> str:
    if isinstance(operation, Refund):
        return f"/v1/transactions/{operation.transaction_id}/refunds"
    if isinstance(operation, Capture):
        return f"/v1/transactions/{operation.transaction_id}/captures"
    if isinstance(operation, Void | Review):
        return f"/v1/transactions/{operation.transaction_id}"
    return f"/v1/transactions/{operation.id}"


def problem_of(error: errors.PaymentError) -> Problem:
    headers = {}
    if isinstance(error, errors.AuthenticationFailed):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.InFlight):
        headers["Retry-After"] = str(math.ceil(error.seconds))
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = "1"
    return Problem(STATUS_CODES[type(error)], error.code, error.detail, param=error.param, headers=headers)


def batch_result(result: Result | errors.PaymentError) -> schemas.BatchResult:
    if isinstance(result, errors.PaymentError):
        problem = problem_of(result)
        return schemas.BatchResult(problem.status, schemas.ProblemDocument(**problem.body()))
    return schemas.BatchResult(status_code_of(result), serialize(result))
