"""Decisions (`charge.decided`, `refund.decided`, …): each settles the operation that is still open here.

For an unknown outcome, the resolver asks for the same decision: the lease decides which of both settles it, exactly
once. For a challenge, the worker asks: the first of both settles it.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Model, Q
from django.db.models.functions import Now
from msgspec import Meta

from payments.gateway.base import Answer, Exchange
from payments.gateway.client import read_authentication
from payments.gateway_events.errors import NotYet, Refused
from payments.gateway_events.search import find_by_key
from payments.models import Authentication, Capture, Refund, Transaction, Unresolved, Void
from payments.services.challenges import settle_challenge
from payments.services.resolution import STEPS, acquire_lease
from payments.states import AUTHORIZATION, CAPTURE, CHARGE, LIFECYCLES, REFUND, VOID, Lifecycle

Text = Annotated[str, Meta(max_length=255)]
# The operations whose customer can be challenged.
CHALLENGED = {lifecycle.operation: lifecycle for lifecycle in (CHARGE, AUTHORIZATION)}

MODELS: dict[str, type[Model]] = {REFUND.operation: Refund, CAPTURE.operation: Capture, VOID.operation: Void}
# The final states in which no money has moved and none is held.
UNMOVED = ("declined", "blocked", "failed")

# Open operations by the gateway's key: a few rows, which need no index.
FIND_OPEN = """
SELECT work.resource_id, coalesce(refund.amount, capture.amount, void.amount, payment.amount), payment.currency
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
SELECT payment.id, payment.amount, payment.currency
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
        answer.authentication = read_authentication(content)
        answer.exchanges = [Exchange("event", self.outcome, None, content, 0.0)]
        return answer


def apply_decision(operation: str, decision: Decision) -> bool:
    """Settle an open operation. Returns False if it is settled, as the gateway decided.

    Raises NotYet while another process works on it, and Refused if the decision contradicts our row.
    """
    found = _find(FIND_OPEN, [operation, decision.key])
    if found is None:
        if operation in CHALLENGED and _apply_to_challenge(CHALLENGED[operation], decision):
            return True
        _compare_with_settled(operation, decision)
        return False
    resource_id, *money = found
    _compare_money(operation, decision, money)
    lease = acquire_lease(resource_id, actor="gateway")
    if lease is None:
        raise NotYet(f"the {operation} is in progress")
    STEPS[lease.operation].settle(lease, decision.answer())
    return True


def ask_now(operation: str, decision: Decision) -> bool:
    """Let the worker ask for the decision now: the gateway's answer has more in it than its event.

    Returns False if the operation is not open, or if a process works on it. Raises Refused for other money.
    """
    found = _find(FIND_CHALLENGED, [decision.key, operation == AUTHORIZATION.operation])
    if found is not None:
        transaction_id, *money = found
        _compare_money(operation, decision, money)
        return bool(Authentication.objects.filter(pk=transaction_id, outcome=None).update(due_at=Now()))
    found = _find(FIND_OPEN, [operation, decision.key])
    if found is None:
        return False
    resource_id, *money = found
    _compare_money(operation, decision, money)
    free = Unresolved.objects.filter(Q(lease_token=None) | Q(lease_until__lte=Now()), resource_id=resource_id)
    return bool(free.update(lease_until=Now()))


def _find(statement: str, parameters: list[Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


def _apply_to_challenge(lifecycle: Lifecycle, decision: Decision) -> bool:
    """Return False if no customer is asked, or if the decision was stored first by the worker."""
    found = _find(FIND_CHALLENGED, [decision.key, lifecycle is AUTHORIZATION])
    if found is None:
        return False
    transaction_id, *money = found
    _compare_money(lifecycle.operation, decision, money)
    return settle_challenge(lifecycle, transaction_id, decision.answer(), actor="gateway")


def _compare_with_settled(operation: str, decision: Decision) -> None:
    """Raise Refused if money moved here or there only: the outcome that the merchant has is wrong."""
    row = _find_settled(operation, decision.key)
    if row is None:
        if decision.outcome == "approved":
            raise Refused(f"no {operation} of this key is known")
        return
    status, *money = row
    if status in LIFECYCLES[operation].open:
        raise NotYet(f"the {operation} is in progress")
    if (decision.outcome == "approved") != (status not in UNMOVED):
        raise Refused(f"our {operation} is {status}, and the gateway's decision is {decision.outcome}")
    _compare_money(operation, decision, money)


def _find_settled(operation: str, key: UUID) -> tuple[Any, ...] | None:
    is_payment = operation in (CHARGE.operation, AUTHORIZATION.operation)
    model = MODELS.get(operation, Transaction)
    rows = model._default_manager.filter(pk__in=find_by_key(model, key))
    if is_payment:
        rows = rows.filter(manual_capture=operation == AUTHORIZATION.operation)
    return rows.values_list("status", "amount", "currency" if is_payment else "transaction__currency").first()


def _compare_money(operation: str, decision: Decision, money: list[Any]) -> None:
    if money != [decision.amount, decision.currency]:
        raise Refused(f"our {operation} is of {money[0]} {money[1]}, theirs of {decision.amount} {decision.currency}")
