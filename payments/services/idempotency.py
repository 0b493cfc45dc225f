"""What to say when a key was already taken. A key belongs to one request of one merchant, across all endpoints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fintech.http.problems import Problem
from payments import metrics
from payments.models import IdempotencyKey, Refund, Transaction, Unresolved
from payments.schemas import Payment, PaymentInput, RefundInput, RefundOutput
from payments.serializers import show_refund, show_transaction

REPLAYED = {"Idempotency-Replayed": "true"}
# The resolver settles within seconds: when to look again.
RETRY_UNKNOWN_SECONDS = 2


@dataclass
class Reply:
    """An answer before it is HTTP. `gateway_seconds` is how long the gateway took of it."""

    status_code: int
    body: Payment | RefundOutput
    headers: dict[str, str] = field(default_factory=dict)
    gateway_seconds: float = 0.0
    is_new: bool = True


def first_reply(body: Payment | RefundOutput, location: str, gateway_seconds: float = 0.0) -> Reply:
    """201 if the outcome is final, 202 if it is still to come."""
    if body.status in ("processing", "unknown"):
        headers = {"Location": location, "Retry-After": str(RETRY_UNKNOWN_SECONDS)}
        return Reply(202, body, headers, gateway_seconds)
    return Reply(201, body, {"Location": location}, gateway_seconds)


def location_of(transaction_id: Any) -> str:
    return f"/v1/transactions/{transaction_id}"


def replay_payment(merchant_id: int, key: str, body: PaymentInput) -> Reply:
    """The stored answer for a payment whose key was taken before; a Problem if it was for something else."""
    (reply,) = replay_payments(merchant_id, [(key, body)])
    if isinstance(reply, Problem):
        raise reply
    return reply


def replay_payments(merchant_id: int, requests: Sequence[tuple[str, PaymentInput]]) -> list[Reply | Problem]:
    """The same for many, with as many queries as for one."""
    keys = IdempotencyKey.objects.filter(merchant_id=merchant_id, key__in={key for key, _ in requests})
    taken = {row.key: row for row in keys}
    ids = [row.resource_id for row in taken.values()]
    # The leases are read before the statuses: if one is gone meanwhile, the status is the final one.
    leases = Unresolved.objects.seconds_of_leases(ids)
    rows = Transaction.objects.in_bulk(ids)
    replies: list[Reply | Problem] = []
    for key, body in requests:
        try:
            _refuse_other_kind(taken[key], "payment")
            row = rows[taken[key].resource_id]
            _refuse_other_body(payment_differs(row, body))
            replies.append(_replay(show_transaction(row), row.is_final, leases.get(row.id), location_of(row.id)))
        except Problem as refusal:
            replies.append(refusal)
    return replies


def replay_refund(merchant_id: int, key: str, transaction_id: Any, body: RefundInput) -> Reply:
    """The same for a refund."""
    taken = IdempotencyKey.objects.get(merchant_id=merchant_id, key=key)
    _refuse_other_kind(taken, "refund")
    seconds = Unresolved.objects.seconds_of_leases([taken.resource_id]).get(taken.resource_id)
    row = Refund.objects.select_related("transaction").get(id=taken.resource_id)
    differs = next(
        (
            name
            for name, stored, sent in (
                ("transaction", row.transaction_id, transaction_id),
                ("amount", row.amount_requested, body.amount),
                ("reason", row.reason, body.reason),
            )
            if stored != sent
        ),
        None,
    )
    _refuse_other_body(differs)
    location = location_of(row.transaction_id) + "/refunds"
    return _replay(show_refund(row), row.is_final, seconds, location)


def _refuse_other_kind(taken: IdempotencyKey, kind: str) -> None:
    if taken.kind != kind:
        metrics.RESULT["mismatch"].inc()
        detail = f"This key was used for another request: a {taken.kind}."
        raise Problem(422, "idempotency_key_reused", detail, param="Idempotency-Key")


def payment_differs(row: Transaction, body: PaymentInput) -> str | None:
    """The first field in which `body` is not what the key was first used with."""
    stored = {
        "amount": row.amount,
        "currency": row.currency,
        "customer": row.customer,
        "description": row.description,
        "reference": row.reference,
        "payment_method": row.payment_method,
        "metadata": row.metadata,
    }
    sent = {**msgspec.to_builtins(body), "metadata": body.metadata or {}}
    return next((name for name, value in stored.items() if value != sent[name]), None)


def _refuse_other_body(field_name: str | None) -> None:
    if field_name is not None:
        metrics.RESULT["mismatch"].inc()
        detail = f"This key was used before with another body: {field_name} differs."
        raise Problem(422, "idempotency_key_reused", detail, param=field_name)


def _replay(body: Payment | RefundOutput, is_final: bool, seconds: float | None, location: str) -> Reply:
    """`seconds`: how long the first request still holds its lease, None if the resolver may have it."""
    if is_final:
        metrics.RESULT["replayed"].inc()
        return Reply(200, body, dict(REPLAYED), is_new=False)
    if body.status == "processing" and seconds is not None:
        metrics.RESULT["in_flight"].inc()
        headers = {"Retry-After": str(math.ceil(seconds))}
        detail = "The first request with this key is still in progress."
        raise Problem(409, "request_in_flight", detail, headers=headers)
    metrics.RESULT["replayed" if body.status == "unknown" else "recovered"].inc()
    headers = {**REPLAYED, "Location": location, "Retry-After": str(RETRY_UNKNOWN_SECONDS)}
    return Reply(202, body, headers, is_new=False)
