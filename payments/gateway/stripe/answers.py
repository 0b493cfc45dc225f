"""Stripe's answers. One that does not clearly say that nothing was charged leaves the outcome unknown."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from payments.gateway.base import Answer
from payments.gateway.stripe.authentication import read_authentication, read_challenge
from payments.gateway.stripe.requests import capture_name

# Our code, where `payments/failures.py` has a sentence for it, and Stripe's: https://docs.stripe.com/declines/codes.
_STRIPES = {
    "insufficient_funds": "insufficient_funds",
    "do_not_honor": """call_issuer card_declined do_not_honor fraudulent generic_decline merchant_blacklist
        no_action_taken not_permitted restricted_card security_violation service_not_allowed transaction_not_allowed""",
    "expired_card": "expired_card",
    "lost_or_stolen": "lost_card stolen_card",
    "do_not_try_again": """do_not_try_again invalid_account pickup_card revocation_of_all_authorizations
        revocation_of_authorization stop_payment_order""",
    "issuer_unavailable": "approve_with_id issuer_not_available reenter_transaction try_again_later",
    "authentication_failed": "payment_intent_authentication_failure",
    "exceeds_charge": "charge_already_refunded",
    "charge_disputed": "charge_disputed",
    "exceeds_authorization": "amount_too_large",
    "authorization_closed": "payment_intent_unexpected_state",
    "authorization_expired": "charge_expired_for_capture",
}
_CODES = {theirs: ours for ours, codes in _STRIPES.items() for theirs in codes.split()}

# The code of an operation that a lookup does not show.
NOT_FOUND = "not_found_yet"


def read_payment(status_code: int, content: Any, *, amount: int, currency: str, challenged: bool = False) -> Answer:
    """Return the outcome of a payment. An answer that does not clearly say "not charged" is unknown.

    So is a challenge that was not allowed (`challenged`), or that names no page: the resolver ends it.
    """
    found = object_of(content)
    if status_code != 200 or found.get("object") != "payment_intent":
        return read_error(status_code, content)
    if (found.get("amount"), found.get("currency")) != (amount, currency.lower()):
        return Answer("timeout", "unclear_answer")
    answer = read_intent(found)
    if answer.outcome == "requires_action" and not (challenged and answer.challenge):
        return Answer("timeout", "unclear_answer")
    return answer


def read_intent(found: dict[str, Any]) -> Answer:
    """Return the outcome of a PaymentIntent, with the result of its authentication if its charge is expanded."""
    answer = _read_status(found)
    if answer.outcome in ("approved", "declined", "cancelled"):
        answer.authentication = read_authentication(found, approved=answer.outcome == "approved")
    return answer


def _read_status(found: dict[str, Any]) -> Answer:
    reference = found.get("id")
    is_named = isinstance(reference, str) and reference.startswith("pi_")
    match found.get("status"):
        case "succeeded" | "requires_capture" if is_named:
            return Answer("approved", None, reference)
        case "requires_action" if is_named:
            return Answer("requires_action", None, reference, challenge=read_challenge(found))
        case "canceled":
            return Answer("cancelled", "cancelled")
        case "requires_payment_method" if isinstance(found.get("last_payment_error"), dict):
            refusal = _refusal(found["last_payment_error"])
            # A lookup that finds a failure is final, like a cancel: this PaymentIntent is never confirmed again.
            return refusal if refusal.outcome == "declined" else Answer("cancelled", refusal.code)
    return Answer("timeout", "unclear_answer")  # `processing` too


def read_error(status_code: int, content: Any, *, refused: str = "error") -> Answer:
    """Return the outcome in an error. `refused` is the outcome of a request that Stripe finds invalid."""
    if not isinstance(content, dict):
        return Answer("timeout", "unreadable_answer")
    error = content.get("error")
    if status_code in (401, 403):
        return Answer("error", "gateway_refused_our_credentials")
    if not isinstance(error, dict):
        return Answer("timeout", "unclear_answer")
    match status_code, error.get("type"):
        case 402, "card_error":
            return _refusal(error)
        case 400, "idempotency_error":
            return Answer("error", "key_reused")
        case ((400 | 404), "invalid_request_error"):
            return Answer(refused, _code(error))
        case 429, _:  # Stripe refuses before it executes anything
            return Answer("unavailable", "acquirer_unavailable")
    return Answer("timeout", "unclear_answer")


def _refusal(error: dict[str, Any]) -> Answer:
    if error.get("code") == "processing_error":
        return Answer("error", "processing_error")
    return Answer("declined", _code(error))


def _code(error: dict[str, Any]) -> str:
    for code in (error.get("decline_code"), error.get("code")):
        if isinstance(code, str) and code:
            return _CODES.get(code, code[:100])
    return "declined"


def read_void(status_code: int, content: Any) -> Answer:
    """Return `approved` if nothing is held any more, also if Stripe says so in an error: it releases by itself, too."""
    found = intent_in(content)
    if status_code in (200, 400) and found.get("object") == "payment_intent":
        if _is_released(found):
            return Answer("approved", None, found.get("id"))
        if found.get("status") in ("succeeded", "requires_capture"):
            return Answer("declined", "authorization_closed")
    return read_error(status_code, content, refused="declined")


def capture_reader(key: UUID, *, looked_up: bool = False) -> Callable[[int, Any], Answer]:
    """Return a reader of the PaymentIntent after a capture, or in an error that names its state.

    A void of ours excludes captures: if nothing is held any more, Stripe has released it.
    """

    def read(status_code: int, content: Any) -> Answer:
        found = intent_in(content)
        if status_code in (200, 400) and found.get("object") == "payment_intent":
            if capture_name(key) in metadata_of(found):
                return Answer("approved", None, found.get("id"))
            if status_code == 200 and not looked_up:
                return Answer("timeout", "unclear_answer")
            if _is_released(found):
                return Answer("declined", "authorization_expired")
            if looked_up:
                return Answer("declined", "authorization_closed")
        return read_error(status_code, content, refused="declined")

    return read


def _is_released(found: dict[str, Any]) -> bool:
    """Return True if a PaymentIntent holds nothing that can be captured, and was not captured as a whole."""
    match found.get("status"), found.get("amount_received"), found.get("amount"):
        case "canceled", _, _:
            return True
        case "succeeded", int(received), int(amount):  # after captures, the rest is released
            return received < amount
    return False


def read_refund(status_code: int, content: Any) -> Answer:
    found = object_of(content)
    if status_code != 200 or found.get("object") != "refund":
        return read_error(status_code, content, refused="declined")
    match found.get("status"):
        case "succeeded" if isinstance(found.get("id"), str):
            return Answer("approved", None, found["id"])
        case "failed" | "canceled":
            return Answer("declined", "refund_failed")
    return Answer("timeout", "unclear_answer")  # `pending` too


def read_fence(status_code: int, content: Any) -> Answer:
    """Return `cancelled` if the fence took the key, `key_used` if the operation had."""
    if status_code == 200 and "fence" in metadata_of(object_of(content)):
        return Answer("cancelled", "cancelled")
    answer = read_error(status_code, content)
    if answer.code == "key_reused":
        return Answer("key_used")
    # No other error says whether the operation arrived.
    return answer if answer.outcome == "unavailable" else Answer("timeout", answer.code)


def intent_reader(key: UUID) -> Callable[[int, Any], Answer]:
    """Return a reader of the PaymentIntent of this key, also in an error that names its state."""

    def read(status_code: int, content: Any) -> Answer:
        found = intent_in(content)
        if status_code in (200, 400) and metadata_of(found).get("key") == str(key):
            return read_intent(found)
        return read_error(status_code, content)

    return read


def finder(key: UUID, read_item: Callable[[dict[str, Any]], Answer]) -> Callable[[int, Any], Answer]:
    """Return a reader of a list: of its item with this key."""

    def read(status_code: int, content: Any) -> Answer:
        for found in listed(status_code, content):
            if metadata_of(found).get("key") == str(key):
                return read_item(found)
        return Answer("timeout", NOT_FOUND)

    return read


def listed(status_code: int, content: Any) -> list[dict[str, Any]]:
    items = content.get("data") if status_code == 200 and isinstance(content, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def intent_in(content: Any) -> dict[str, Any]:
    """Return the object in an answer, or the PaymentIntent in an error that names its state."""
    error = content.get("error") if isinstance(content, dict) else None
    return object_of(error.get("payment_intent") if isinstance(error, dict) else content)


def object_of(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) and isinstance(content.get("object"), str) else {}


def key_of(metadata: Mapping[str, str]) -> UUID | None:
    """Return our key in the metadata of a Stripe object, or None if it is none of ours."""
    try:
        return UUID(metadata.get("key", ""))
    except ValueError:
        return None


def metadata_of(found: dict[str, Any]) -> dict[str, Any]:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
