"""Idempotency keys: take one, and replay the stored outcome of one that was used before.

A key belongs to one request of one merchant.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from fintech.database.sql import execute
from payments import metrics
from payments.errors import InFlight, KeyReused, PaymentError
from payments.models import Capture, IdempotencyKey, Refund, Review, Transaction, Unresolved, Void, load_authentications
from payments.schemas import CaptureInput, PaymentInput, RefundInput, ReviewInput, VoidInput
from payments.services.results import Result
from payments.states import ChargeStatus

# The fields of a payment that a replay repeats.
REQUESTED = (
    "amount",
    "currency",
    "customer",
    "description",
    "reference",
    "payment_method",
    "metadata",
    "capture",
    "return_url",
)
# The columns of the other operations that differ from the names of their requests.
STORED_NAMES = {"transaction": "transaction_id", "amount": "amount_requested"}


class KeyTaken(Exception):
    pass


def take_key(merchant_id: int, key: str, resource_id: UUID, kind: str) -> None:
    """Raises KeyTaken if an earlier request of this merchant used the key."""
    taken = execute(
        "INSERT INTO payments_idempotencykey (merchant_id, key, resource_id, kind)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (merchant_id, key) DO NOTHING",
        [merchant_id, key, resource_id, kind],
    )
    if not taken:
        raise KeyTaken


def used_keys(merchant_id: int, keys: Iterable[str]) -> set[str]:
    """Return those of the keys that an earlier request of this merchant used."""
    rows = IdempotencyKey.objects.filter(merchant_id=merchant_id, key__in=set(keys))
    return set(rows.values_list("key", flat=True))


def replay_payment(merchant_id: int, key: str, body: PaymentInput) -> Result:
    """Return the stored payment of a key that was used before. Raises KeyReused or InFlight."""
    (result,) = replay_payments(merchant_id, [(key, body)])
    if isinstance(result, PaymentError):
        raise result
    return result


def replay_payments(merchant_id: int, requests: Sequence[tuple[str, PaymentInput]]) -> list[Result | PaymentError]:
    """Do the same for many requests, with as many queries as for one."""
    keys = IdempotencyKey.objects.filter(merchant_id=merchant_id, key__in={key for key, _ in requests})
    taken = {row.key: row for row in keys}
    ids = [row.resource_id for row in taken.values()]
    # The leases are read before the statuses: if one is gone meanwhile, the status is the final one.
    leases = Unresolved.objects.lease_seconds(ids)
    rows = Transaction.objects.in_bulk(ids)
    load_authentications(rows.values())
    results: list[Result | PaymentError] = []
    for key, body in requests:
        try:
            _refuse_other_kind(taken[key], "payment")
            row = rows[taken[key].resource_id]
            sent = {**msgspec.to_builtins(body), "metadata": body.metadata or {}}
            _refuse_other_body({name: getattr(row, name) for name in REQUESTED}, sent)
            results.append(_replay(row, leases.get(row.id)))
        except PaymentError as refusal:
            results.append(refusal)
    return results


def replay_operation(
    model: type[Refund | Capture | Void | Review],
    merchant_id: int,
    key: str,
    transaction_id: UUID,
    body: RefundInput | CaptureInput | VoidInput | ReviewInput,
) -> Result:
    """Return the stored operation of a key that was used before. Raises KeyReused or InFlight."""
    taken = IdempotencyKey.objects.get(merchant_id=merchant_id, key=key)
    _refuse_other_kind(taken, model.__name__.lower())
    # The lease is read before the status, as above.
    seconds = Unresolved.objects.lease_seconds([taken.resource_id]).get(taken.resource_id)
    row = model.objects.select_related("transaction").get(pk=taken.resource_id)
    sent = {"transaction": transaction_id, **msgspec.structs.asdict(body)}
    stored = {name: getattr(row, STORED_NAMES.get(name, name)) for name in sent}
    _refuse_other_body(stored, sent)
    return _replay(row, seconds)


def _refuse_other_kind(taken: IdempotencyKey, kind: str) -> None:
    if taken.kind != kind:
        metrics.RESULT["mismatch"].inc()
        raise KeyReused(f"This key was used for another request: a {taken.kind}.", param="Idempotency-Key")


def _refuse_other_body(stored: dict[str, Any], sent: dict[str, Any]) -> None:
    """Raise KeyReused for the first field in which the body differs from that of the request that used the key."""
    field_name = next((name for name in stored if stored[name] != sent[name]), None)
    if field_name is not None:
        metrics.RESULT["mismatch"].inc()
        raise KeyReused(f"This key was used before with another body: {field_name} differs.", param=field_name)


def _replay(operation: Transaction | Capture | Void | Refund | Review, lease_seconds: float | None) -> Result:
    """`lease_seconds` is how long the first request still holds its lease; None if the resolver may have it."""
    in_progress = operation.status == ChargeStatus.PROCESSING
    if in_progress and lease_seconds is not None:
        metrics.RESULT["in_flight"].inc()
        raise InFlight(lease_seconds)
    metrics.RESULT["recovered" if in_progress else "replayed"].inc()
    return Result(operation, is_replay=True)
