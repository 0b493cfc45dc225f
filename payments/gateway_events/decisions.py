"""Decisions (`charge.decided`, `refund.decided`, …): each settles the operation that is still open here.

For an unknown outcome, the resolver asks for the same decision: the lease decides which of both settles it, exactly
once. For a challenge, the worker asks: the first of both settles it. A decision about an operation that is final must
agree with our row.
"""

from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import Model, Q
from django.db.models.functions import Now
from msgspec import Meta

from fintech.database.sql import fetch_one
from payments.gateway.answers import read_authentication
from payments.gateway.base import Answer, Exchange
from payments.gateway_events.errors import NotYet, Refused
from payments.gateway_events.search import find_by_key
from payments.models import Authentication, Capture, Refund, Transaction, Unresolved, Void
from payments.services.challenges import settle_challenge
from payments.services.resolution import acquire_lease
from payments.states import AUTHORIZATION, CAPTURE, CHARGE, LIFECYCLES, REFUND, UNMOVED, VOID, Lifecycle

Text = Annotated[str, Meta(max_length=255)]
# The operations whose customer can be challenged.
CHALLENGED = {lifecycle.operation: lifecycle for lifecycle in (CHARGE, AUTHORIZATION)}

MODELS: dict[str, type[Model]] = {REFUND.operation: Refund, CAPTURE.operation: Capture, VOID.operation: Void}

# Open operations by the gateway's key: a few rows, which need no index.
FIND_OPEN = """
SELECT work.resource_id, payment.gateway, coalesce(refund.amount, capture.amount, void.amount, payment.amount),
    payment.currency
FROM payments_unresolved AS work
JOIN payments_transaction AS payment ON payment.id = work.transaction_id
LEFT JOIN payments_refund AS refund ON refund.id = work.refund_id
LEFT JOIN payments_capture AS capture ON capture.id = work.capture_id
LEFT JOIN payments_void AS void ON void.id = work.void_id
WHERE CASE WHEN work.operation = 'charge' AND payment.manual_capture THEN 'authorization' ELSE work.operation END = %s
    AND coalesce(refund.gateway_key, capture.gateway_key, void.gateway_key, payment.gateway_key) = %s
"""


# Payments that wait for their customer, through an index of those.
FIND_CHALLENGED = """
SELECT payment.id, payment.gateway, payment.amount, payment.currency
FROM payments_authentication AS challenge JOIN payments_transaction AS payment ON payment.id = challenge.transaction_id
WHERE challenge.outcome IS NULL AND challenge.gateway_key = %s AND payment.manual_capture = %s
"""


class Decision(msgspec.Struct):
    """The gateway's decision about the operation that it knows by `key`."""

    key: UUID
    outcome: Literal["approved", "declined"]
    amount: Annotated[int, Meta(gt=0)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    reference: Text | None = None
    code: Text | None = None
    authentication: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.outcome == "approved") != (self.reference is not None):
            raise ValueError("an approved decision has a reference, and no other has one")

    def answer(self) -> Answer:
        answer = Answer(self.outcome, self.code, self.reference)
        content = {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}
        answer.authentication = read_authentication(content, self.outcome)
        answer.exchanges = [Exchange("event", self.outcome, None, content, 0.0)]
        return answer


def apply_decision(operation: str, decision: Decision, *, gateway: str) -> bool:
    """Settle an open operation. Returns False if it is settled, as the gateway decided.

    Raises NotYet while another process works on it, and Refused if the decision contradicts our row.
    """
    found = fetch_one(FIND_OPEN, [operation, decision.key])
    if found is None:
        if operation in CHALLENGED and _apply_to_challenge(CHALLENGED[operation], decision, gateway):
            return True
        _compare_with_settled(operation, decision, gateway)
        return False
    resource_id, ours, *money = found
    if _is_left(operation, decision, gateway, ours):
        return False
    _compare_money(operation, decision, money)
    lease = acquire_lease(resource_id, actor="gateway")
    if lease is None:
        raise NotYet(f"the {operation} is in progress")
    lease.settle(decision.answer())
    return True


def ask_now(operation: str, decision: Decision, *, gateway: str) -> bool:
    """Let the worker ask for the decision now: the gateway's answer has more in it than its event.

    Returns False if the operation is not open at this gateway, or if a process works on it. Raises Refused for other
    money.
    """
    challenged = fetch_one(FIND_CHALLENGED, [decision.key, operation == AUTHORIZATION.operation])
    found = challenged or fetch_one(FIND_OPEN, [operation, decision.key])
    if found is None:
        return False
    resource_id, ours, *money = found
    if ours != gateway:
        return False
    _compare_money(operation, decision, money)
    if challenged:
        return bool(Authentication.objects.filter(pk=resource_id, outcome=None).update(due_at=Now()))
    free = Unresolved.objects.filter(Q(lease_token=None) | Q(lease_until__lte=Now()), resource_id=resource_id)
    return bool(free.update(lease_until=Now()))


def _apply_to_challenge(lifecycle: Lifecycle, decision: Decision, gateway: str) -> bool:
    """Return False if no customer is asked, or if the decision was stored first by the worker."""
    found = fetch_one(FIND_CHALLENGED, [decision.key, lifecycle is AUTHORIZATION])
    if found is None:
        return False
    transaction_id, ours, *money = found
    if _is_left(lifecycle.operation, decision, gateway, ours):
        return False
    _compare_money(lifecycle.operation, decision, money)
    return settle_challenge(lifecycle, transaction_id, decision.answer(), actor="gateway")


def _is_left(operation: str, decision: Decision, gateway: str, ours: str) -> bool:
    """Return True if the payment went on at another gateway (`failover.py`), and this one says again that it charged
    nothing. Both know it by the same key.
    """
    if gateway == ours:
        return False
    if decision.outcome == "approved":
        raise Refused(f"our {operation} is at the gateway {ours}, and {gateway} has approved it")
    return True


def _compare_with_settled(operation: str, decision: Decision, gateway: str) -> None:
    """Raise Refused if money moved here or there only, or twice: the outcome that the merchant has is wrong."""
    ours = _find_settled(operation, decision.key)
    if ours is None:
        if decision.outcome == "approved":
            raise Refused(f"no {operation} of this key is known")
        return
    if _is_left(operation, decision, gateway, ours.gateway):
        return
    if ours.status in LIFECYCLES[operation].open:
        raise NotYet(f"the {operation} is in progress")
    if (decision.outcome == "approved") != (ours.status not in UNMOVED):
        raise Refused(f"our {operation} is {ours.status}, and the gateway's decision is {decision.outcome}")
    _compare_money(operation, decision, [ours.amount, ours.currency])
    if decision.outcome == "approved":
        _compare_approval(operation, decision, ours)


class Settled(NamedTuple):
    status: str
    reference: str | None
    gateway: str
    amount: int
    currency: str
    liability_shift: str | None = None  # of a payment whose customer was authenticated


def _find_settled(operation: str, key: UUID) -> Settled | None:
    is_payment = operation in CHALLENGED
    model = MODELS.get(operation, Transaction)
    rows = model._default_manager.filter(pk__in=find_by_key(model, key))
    of_payment = "" if is_payment else "transaction__"
    columns = ["status", "gateway_reference", f"{of_payment}gateway", "amount", f"{of_payment}currency"]
    if is_payment:
        rows = rows.filter(manual_capture=operation == AUTHORIZATION.operation)
        columns.append("authentication__liability_shift")
    row = rows.values_list(*columns).first()
    return Settled(*row) if row else None


def _compare_approval(operation: str, decision: Decision, ours: Settled) -> None:
    if decision.reference != ours.reference:
        raise Refused(f"our {operation} has the gateway's reference {ours.reference}, theirs {decision.reference}")
    result = decision.answer().authentication
    if result is not None and result.liability_shift != (ours.liability_shift or "merchant"):
        raise Refused(f"by the decision, the liability is with the {result.liability_shift}")


def _compare_money(operation: str, decision: Decision, money: list[Any]) -> None:
    if money != [decision.amount, decision.currency]:
        raise Refused(f"our {operation} is of {money[0]} {money[1]}, theirs of {decision.amount} {decision.currency}")
