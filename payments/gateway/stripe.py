"""The second acquirer: Stripe's PaymentIntents API (https://docs.stripe.com/api/payment_intents).

Each of our operations is one request with our key as its `Idempotency-Key`; the key is also in the object's metadata.
Stripe keeps a key for at least 24 hours, so the resolver can ask within this time.

Stripe has no cancel by key. Our fence is a request that occupies the key: a PaymentIntent without a payment method,
which moves no money. If Stripe accepts it, the operation never arrived, and Stripe refuses it if it arrives later,
because its parameters differ. If Stripe refuses the fence, the operation arrived, and its result is looked up.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from payments.currencies import EXPONENTS
from payments.gateway.base import Answer, GatewayError
from payments.gateway.client import HttpClient

VERSION = "2024-06-20"
INTENTS, REFUNDS = "/v1/payment_intents", "/v1/refunds"
PAGE_SIZE = 100
# The smallest amount that Stripe accepts in every account is far below it.
FENCE = {"amount": 100, "currency": "usd", "description": "Occupies the key of an operation that never arrived."}

# Exponents that differ from ISO 4217, and the digits at the end that must be zero: docs.stripe.com/currencies.
_EXPONENTS = {"ISK": 2, "UGX": 2, "MGA": 0}
_ZERO_DIGITS = {"ISK": 2, "UGX": 2, "BHD": 1, "JOD": 1, "KWD": 1, "OMR": 1, "TND": 1}
# Stripe's code -> ours, where `payments/failures.py` has a sentence for it.
_CODES = {
    "expired_card": "expired_card",
    "insufficient_funds": "insufficient_funds",
    "do_not_honor": "do_not_honor",
    "generic_decline": "do_not_honor",
    "lost_card": "lost_or_stolen",
    "stolen_card": "lost_or_stolen",
    "charge_already_refunded": "exceeds_charge",
    "charge_disputed": "charge_disputed",
    "amount_too_large": "exceeds_authorization",
    "payment_intent_unexpected_state": "authorization_closed",
}
_CAPTURE_NAME = re.compile("capture_([0-9a-f]{32})")


class NotRepresentable(ValueError):
    """Stripe cannot move exactly this amount."""


def to_stripe(amount: int, currency: str) -> int:
    """Convert minor units of ISO 4217 to Stripe's. Raises NotRepresentable."""
    shift = _EXPONENTS.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    scaled = amount * 10**shift if shift >= 0 else amount // 10**-shift
    if from_stripe(scaled, currency) != amount or scaled % 10 ** _ZERO_DIGITS.get(currency, 0):
        raise NotRepresentable
    return scaled


def from_stripe(amount: int, currency: str) -> int:
    shift = _EXPONENTS.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    return amount // 10**shift if shift >= 0 else amount * 10**-shift


class StripeGateway(HttpClient):
    content_type = "application/x-www-form-urlencoded"
    max_answer_bytes = 1024 * 1024  # a page of refunds; the journal keeps a summary

    def __init__(self, url: str, api_key: str, *, name: str = "stripe") -> None:
        super().__init__(url, api_key, name=name)
        self._headers["Stripe-Version"] = VERSION

    def encode(self, body: dict[str, Any]) -> bytes:
        return urlencode(body).encode()

    def journal(self, content: Any) -> Any:
        """Return what happened, without the client's secret and the card."""
        found = _object(content)
        if not isinstance(content, dict) or not (found or isinstance(content.get("error"), dict)):
            return None
        names = ("id", "object", "status", "amount", "amount_received", "currency", "payment_intent")
        error = content.get("error") or found.get("last_payment_error") or {}
        kept = {name: found.get(name) for name in names if name in found}
        return kept | {name: error[name] for name in ("type", "code", "decline_code") if error.get(name)}

    # --- Operations --------------------------------------------------------------------------------------------

    def charge(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer:
        """Charge without a challenge, also with a `return_url`: Stripe declines what needs one."""
        return self._pay("charge", key, amount, currency, payment_method)

    def authorize(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer:
        return self._pay("authorize", key, amount, currency, payment_method)

    def find_charge(self, key: UUID) -> Answer:
        return Answer("timeout", "never_challenged")

    def find_authorization(self, key: UUID) -> Answer:
        return Answer("timeout", "never_challenged")

    def _pay(self, operation: str, key: UUID, amount: int, currency: str, payment_method: Any) -> Answer:
        token = getattr(payment_method, "token", None)
        if not token:
            return Answer("error", "payment_method_missing")
        try:
            wanted = to_stripe(amount, currency)
        except NotRepresentable:
            return Answer("error", "amount_not_representable")
        body = {
            "amount": wanted,
            "currency": currency.lower(),
            "payment_method": token,
            "payment_method_types[]": "card",
            "capture_method": "automatic" if operation == "charge" else "manual",
            "confirm": "true",
            "error_on_requires_action": "true",
            "metadata[key]": str(key),
            "metadata[operation]": operation,
        }

        def read(status_code: int, content: Any) -> Answer:
            return read_payment(status_code, content, amount=wanted, currency=currency)

        return self._call(operation, INTENTS, key, body, read)

    def capture(
        self, key: UUID, *, authorization: UUID, reference: str | None = None, amount: int, currency: str, final: bool
    ) -> Answer:
        if reference is None:
            return Answer("error", "authorization_not_found")
        try:
            wanted = to_stripe(amount, currency)
        except NotRepresentable:
            return Answer("error", "amount_not_representable")
        body: dict[str, Any] = {"amount_to_capture": wanted, f"metadata[{_capture_name(key)}]": wanted}
        if not final:
            body["final_capture"] = "false"
        return self._call("capture", f"{_intent(reference)}/capture", key, body, _capture_reader(key))

    def void(self, key: UUID, *, authorization: UUID, reference: str | None = None) -> Answer:
        if reference is None:
            return Answer("error", "authorization_not_found")
        body = {"cancellation_reason": "requested_by_customer"}
        return self._call("void", f"{_intent(reference)}/cancel", key, body, read_void)

    def refund(self, key: UUID, *, charge: UUID, reference: str | None = None, amount: int, currency: str) -> Answer:
        if reference is None:
            return Answer("error", "charge_not_found")
        try:
            wanted = to_stripe(amount, currency)
        except NotRepresentable:
            return Answer("error", "amount_not_representable")
        body = {
            "payment_intent": reference,
            "amount": wanted,
            "metadata[key]": str(key),
            "metadata[charge]": str(charge),
        }
        return self._call("refund", REFUNDS, key, body, read_refund)

    def submit_evidence(self, key: UUID, *, dispute: UUID, text: str, files: list[Any]) -> Answer:
        raise GatewayError("disputes of Stripe are not followed: docs/gateway.md")

    def accept_dispute(self, key: UUID, *, dispute: UUID) -> Answer:
        raise GatewayError("disputes of Stripe are not followed: docs/gateway.md")

    # --- Unknown outcomes --------------------------------------------------------------------------------------

    def cancel_charge(self, key: UUID) -> Answer:
        """Fence the key, or look the charge up. It stays unknown until Stripe's search, which lags, shows it."""
        search = quote(f"metadata['key']:'{key}'")
        return self._fence(key, f"{INTENTS}/search?limit=2&query={search}", _found_reader(key))

    def cancel_authorization(self, key: UUID) -> Answer:
        return self.cancel_charge(key)

    def cancel_capture(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._fence(key, _intent(reference), _capture_reader(key, looked_up=True))

    def cancel_void(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._fence(key, _intent(reference), read_void)

    def cancel_refund(self, key: UUID, *, reference: str | None = None) -> Answer:
        path = f"{REFUNDS}?limit={PAGE_SIZE}&payment_intent={quote(reference or '')}"
        return self._fence(key, path, _refund_finder(key))

    def _fence(self, key: UUID, path: str, read: Callable[[int, Any], Answer]) -> Answer:
        """Occupy the key, or look up what used it at `path`. A request in flight leaves the outcome unknown."""
        answer = self._call("cancel", INTENTS, key, FENCE | {"metadata[fence]": str(key)}, read_fence)
        if answer.outcome != "key_used":
            return answer
        found = self._call("cancel", path, key, None, read)
        found.exchanges = answer.exchanges + found.exchanges
        return found

    # --- The record of what moved ------------------------------------------------------------------------------

    def totals(self) -> None:
        """Return None: Stripe keeps no totals. `reconcile` compares item by item."""

    def records(self, *, after: Any = 0, limit: int = PAGE_SIZE) -> dict[str, Any]:
        """Return one page of payments, newest first, and after the last one the pages of refunds."""
        path, last = after or (INTENTS, "")
        page = self._read(f"{path}?limit={min(limit, PAGE_SIZE)}" + (f"&starting_after={last}" if last else ""))
        of = _payment_records if path == INTENTS else _refund_records
        following: Any = (path, page["data"][-1]["id"]) if page["has_more"] else None
        if following is None and path == INTENTS:
            following = (REFUNDS, "")
        return {"records": [record for item in page["data"] for record in of(item)], "next": following}


# --- Answers -----------------------------------------------------------------------------------------------


def read_payment(status_code: int, content: Any, *, amount: int, currency: str) -> Answer:
    """Return the outcome of a payment. An answer that does not clearly say "not charged" is unknown."""
    found = _object(content)
    if status_code != 200 or found.get("object") != "payment_intent":
        return read_error(status_code, content)
    if (found.get("amount"), found.get("currency")) != (amount, currency.lower()):
        return Answer("timeout", "unclear_answer")
    return read_intent(found)


def read_intent(found: dict[str, Any]) -> Answer:
    reference = found.get("id")
    match found.get("status"):
        case "succeeded" | "requires_capture" if isinstance(reference, str) and reference.startswith("pi_"):
            return Answer("approved", None, reference)
        case "canceled":
            return Answer("cancelled", "cancelled")
        case "requires_payment_method" if isinstance(found.get("last_payment_error"), dict):
            return _refusal(found["last_payment_error"])
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
    found = _object(content)
    if status_code != 200 or found.get("object") != "payment_intent":
        return read_error(status_code, content, refused="declined")
    match found.get("status"), found.get("amount_received"), found.get("amount"):
        case "canceled", _, _:
            return Answer("approved", None, found.get("id"))
        case "succeeded", int(received), int(amount) if received < amount:  # after captures, the rest is released
            return Answer("approved", None, found.get("id"))
        case (("succeeded" | "requires_capture"), _, _):
            return Answer("declined", "authorization_closed")
    return Answer("timeout", "unclear_answer")


def _capture_reader(key: UUID, *, looked_up: bool = False) -> Callable[[int, Any], Answer]:
    def read(status_code: int, content: Any) -> Answer:
        found = _object(content)
        if status_code != 200 or found.get("object") != "payment_intent":
            return read_error(status_code, content, refused="declined")
        if _capture_name(key) in _metadata(found):
            return Answer("approved", None, found.get("id"))
        return Answer("declined", "authorization_closed") if looked_up else Answer("timeout", "unclear_answer")

    return read


def read_refund(status_code: int, content: Any) -> Answer:
    found = _object(content)
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
    if status_code == 200 and "fence" in _metadata(_object(content)):
        return Answer("cancelled", "cancelled")
    answer = read_error(status_code, content)
    if answer.code == "key_reused":
        return Answer("key_used")
    # No other error says whether the operation arrived.
    return answer if answer.outcome == "unavailable" else Answer("timeout", answer.code)


def _found_reader(key: UUID) -> Callable[[int, Any], Answer]:
    def read(status_code: int, content: Any) -> Answer:
        for found in _listed(status_code, content):
            if _metadata(found).get("key") == str(key):
                return read_intent(found)
        return Answer("timeout", "not_found_yet")

    return read


def _refund_finder(key: UUID) -> Callable[[int, Any], Answer]:
    def read(status_code: int, content: Any) -> Answer:
        for found in _listed(status_code, content):
            if _metadata(found).get("key") == str(key):
                return read_refund(200, found)
        return Answer("timeout", "not_found_yet")

    return read


def _listed(status_code: int, content: Any) -> list[dict[str, Any]]:
    items = content.get("data") if status_code == 200 and isinstance(content, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _object(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) and isinstance(content.get("object"), str) else {}


def _metadata(found: dict[str, Any]) -> dict[str, Any]:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _intent(reference: str | None) -> str:
    return f"{INTENTS}/{quote(reference or '', safe='')}"


def _capture_name(key: UUID) -> str:
    return f"capture_{key.hex}"  # 40 characters, as many as a name in metadata may have


def captures_of(metadata: Mapping[str, Any]) -> list[tuple[UUID, int]]:
    """Return the keys of our captures, and Stripe's amounts."""
    found = ((_CAPTURE_NAME.fullmatch(name), str(amount)) for name, amount in metadata.items())
    return [(UUID(name[1]), int(amount)) for name, amount in found if name and amount.isascii() and amount.isdigit()]


# --- Records -----------------------------------------------------------------------------------------------


def _payment_records(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the money that a PaymentIntent moved: its charge, or its captures."""
    metadata = _metadata(item)
    left = item["amount_received"]
    for key, amount in captures_of(metadata):
        if left >= amount:
            left -= amount
            yield _record(item, "capture", str(key), amount)
    if left:  # also money that nothing of ours asked for, so that it is reported
        yield _record(item, "charge", metadata.get("key", item["id"]), left) | {"charge": None}


def _refund_records(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if item["status"] in ("succeeded", "pending"):
        metadata = _metadata(item)
        record = _record(item, "refund", metadata.get("key", item["id"]), item["amount"])
        yield record | {"charge": metadata.get("charge", item["payment_intent"])}


def _record(item: dict[str, Any], kind: str, key: str, amount: int) -> dict[str, Any]:
    currency = item["currency"].upper()
    return {
        "kind": kind,
        "key": key,
        "charge": _metadata(item).get("key"),
        "amount": from_stripe(amount, currency),
        "currency": currency,
        "reference": item["id"],
        "at": datetime.fromtimestamp(item["created"], UTC).isoformat(),
    }
