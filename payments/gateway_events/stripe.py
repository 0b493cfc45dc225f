"""Stripe's events: its objects as decisions about our operations (https://docs.stripe.com/api/events/types).

An object that none of our operations made, such as a fence, is ignored. The end of a void is not in its event: the
resolver looks it up. An authorization that Stripe has released by itself is over: the worker voids it here, too.
"""

import hashlib
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from payments.gateway.base import Answer
from payments.gateway.registry import STRIPE, gateways
from payments.gateway.stripe.amounts import from_stripe
from payments.gateway.stripe.answers import key_of, read_intent, read_refund
from payments.gateway.stripe.disputes import Currency
from payments.gateway.stripe.requests import captures_of
from payments.gateway_events.decisions import Decision, apply_decision, ask_now
from payments.gateway_events.errors import UNREADABLE, NotYet, Refused
from payments.gateway_events.search import find_by_key
from payments.models import Authorization, Transaction
from payments.schemas import MAX_AMOUNT
from payments.services.authorization_expiry import void_one
from payments.states import AUTHORIZATION

OPERATIONS = {"charge": "charge", "authorize": "authorization"}
FINAL = ("approved", "declined", "cancelled")

_apply = partial(apply_decision, gateway=STRIPE)


class Envelope(msgspec.Struct):
    id: Annotated[str, Meta(pattern=r"^[^\x00]+$", max_length=255)]


class Item(msgspec.Struct):
    """The fields that both objects have."""

    id: str
    object: str
    amount: Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
    currency: Currency
    status: str
    metadata: dict[str, str] = {}
    last_payment_error: dict[str, Any] | None = None


class Change(msgspec.Struct):
    object: Item


def identify(body: bytes) -> str:
    """Return the event's id. A body without one is stored under its hash, and found unreadable later."""
    try:
        return msgspec.json.decode(body, type=Envelope).id
    except UNREADABLE:
        return f"sha256:{hashlib.sha256(body).hexdigest()}"


def apply_intent(change: Change) -> bool:
    intent = change.object
    operation, key = OPERATIONS.get(intent.metadata.get("operation", "")), key_of(intent.metadata)
    if operation is None or key is None:
        return False
    captured = [
        _apply("capture", _decide(intent, capture, amount, Answer("approved", None, intent.id)))
        for capture, amount in captures_of(intent.metadata)
    ]
    answer = read_intent(msgspec.to_builtins(intent))
    decision = _decide(intent, key, intent.amount, answer)
    # The result of 3-D Secure is in the charge, which an event names and does not hold.
    if intent.metadata.get("challenge") and answer.outcome in FINAL and ask_now(operation, decision, gateway=STRIPE):
        return True
    if answer.outcome not in ("approved", "declined"):
        return any(captured) or (answer.outcome == "cancelled" and _expire(key))
    try:
        applied = _apply(operation, decision)
    except Refused:
        if not _is_released(operation, decision, intent.id):
            raise
        applied = False
    return applied or any(captured)


def _is_released(operation: str, decision: Decision, reference: str) -> bool:
    """Return True if Stripe has released an authorization since it announced it, so that nothing is held.

    A customer may accept in the moment between our look at an open challenge and our cancel, which then releases the
    authorization, too. Raises NotYet if Stripe does not say.
    """
    if operation != AUTHORIZATION.operation or decision.outcome != "approved":
        return False
    now = gateways.get(STRIPE).find_authorization(decision.key, reference=reference)
    if now.outcome not in ("approved", "cancelled"):
        raise NotYet("our authorization has another outcome, and Stripe does not say what it is now")
    return now.outcome == "cancelled"


def _expire(key: UUID) -> bool:
    """Void an authorization. Returns False if nothing is held here, or if an operation on it is under way."""
    held = Authorization.objects.filter(transaction__in=find_by_key(Transaction, key), transaction__gateway=STRIPE)
    found = held.values_list("transaction__merchant_id", "transaction_id").first()
    return found is not None and void_one(*found)


def apply_refund(change: Change) -> bool:
    refund = change.object
    key, answer = key_of(refund.metadata), read_refund(200, msgspec.to_builtins(refund))
    if key is None or answer.outcome not in ("approved", "declined"):
        return False
    return _apply("refund", _decide(refund, key, refund.amount, answer))


def _decide(item: Item, key: UUID, amount: int, answer: Answer) -> Decision:
    outcome: Literal["approved", "declined"] = "approved" if answer.outcome == "approved" else "declined"
    currency = item.currency.upper()
    return Decision(key, outcome, from_stripe(amount, currency), currency, answer.reference, answer.code)
