"""The one place that turns outcomes and errors into HTTP: 201, 202, 200, 409 and problem documents."""

import math
from dataclasses import dataclass, field

from fintech.http.problems import Problem
from payments import errors
from payments.models import Refund
from payments.schemas import BatchResult, Payment, ProblemDocument, RefundOutput
from payments.serializers import serialize_payment, serialize_refund
from payments.services.outcomes import Charge, Outcome

# The resolver settles within seconds.
RETRY_SECONDS = 2

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


@dataclass(slots=True)
class Reply:
    """An answer before it is encoded."""

    status_code: int
    body: Payment | RefundOutput
    headers: dict[str, str] = field(default_factory=dict)


def reply_to(outcome: Outcome) -> Reply:
    """201 for a new final outcome, 200 for a replayed one, 202 while it is open."""
    is_final, is_replay = outcome.operation.is_final, outcome.is_replay
    headers = {}
    if not (is_replay and is_final):
        headers["Location"] = location_of(outcome.operation)
    if not is_final:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if is_replay:
        headers["Idempotency-Replayed"] = "true"
    status_code = 202 if not is_final else 200 if is_replay else 201
    return Reply(status_code, serialize(outcome), headers)


def serialize(outcome: Outcome) -> Payment | RefundOutput:
    operation = outcome.operation
    return serialize_refund(operation) if isinstance(operation, Refund) else serialize_payment(operation)


def location_of(operation: Charge | Refund) -> str:
    if isinstance(operation, Refund):
        return f"/v1/transactions/{operation.transaction_id}/refunds"
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


def batch_result(result: Outcome | errors.PaymentError) -> BatchResult:
    if isinstance(result, errors.PaymentError):
        problem = problem_of(result)
        return BatchResult(problem.status, ProblemDocument(**problem.body()))
    reply = reply_to(result)
    return BatchResult(reply.status_code, reply.body)
