"""PaymentIntents and refunds: their steps, and the errors of requests that do not fit."""

import time
from typing import Any
from uuid import uuid4

from loadtests.gateway.authentication import OUTCOMES
from loadtests.gateway.outcomes import Behaviour, Does
from loadtests.stripe.store import Object, Store

Form = dict[str, str]
Result = tuple[int, dict[str, Any]]

# The simulator's code -> Stripe's code and decline code.
DECLINES = {
    "insufficient_funds": ("card_declined", "insufficient_funds"),
    "do_not_honor": ("card_declined", "do_not_honor"),
    "expired_card": ("expired_card", None),
    "lost_or_stolen": ("card_declined", "lost_card"),
    "processing_error": ("processing_error", None),
    "authentication_required": ("authentication_required", "authentication_required"),
    "authentication_failed": ("payment_intent_authentication_failure", None),
}
# The outcome of the simulator -> the result of 3-D Secure in the charge.
THREE_D_SECURE = {
    name: {"result": result, "authentication_flow": flow, "electronic_commerce_indicator": indicator}
    for name, result, flow, indicator in [
        ("challenged", "authenticated", "challenge", "05"),
        ("frictionless", "authenticated", "frictionless", "05"),
        ("exempt", "exempted", None, None),
    ]
}
TEN_AT_LEAST = ("bhd", "jod", "kwd", "omr", "tnd")  # their last digit must be 0
HUNDRED_AT_LEAST = ("isk", "ugx")


class BadRequest(Exception):
    """A request that is refused before it is executed: Stripe does not save it under its key."""

    def __init__(self, message: str, *, param: str, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.status = param, status


def error(kind: str, message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, **{k: v for k, v in fields.items() if v is not None}}}


def read_amount(form: Form, name: str, currency: str) -> int:
    text = form.get(name, "")
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**12:
        raise BadRequest("Invalid positive integer", param=name)
    step = 10 if currency in TEN_AT_LEAST else 100 if currency in HUNDRED_AT_LEAST else 1
    if int(text) % step:
        raise BadRequest(f"The amount must be a multiple of {step}", param=name)
    return int(text)


def read_metadata(form: Form) -> dict[str, str]:
    return {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in form.items()
        if name.startswith("metadata[")
    }


class Objects:
    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, identifier: str, kind: str) -> Object:
        item = self._store.find(identifier)
        if item is None or item["object"] != kind:
            raise BadRequest(f"No such {kind}: {identifier!r}", param="intent", status=404)
        return item

    def create(self, form: Form, behaviour: Behaviour, page: str) -> Result:
        """Create a PaymentIntent, and confirm it if the form says so. `page` is the address of challenges."""
        currency = form.get("currency", "")
        if len(currency) != 3 or not currency.isalpha() or not currency.islower():
            raise BadRequest("Invalid currency", param="currency")
        intent: Object = {
            "id": f"pi_{uuid4().hex}",
            "object": "payment_intent",
            "amount": read_amount(form, "amount", currency),
            "amount_capturable": 0,
            "amount_received": 0,
            "capture_method": form.get("capture_method", "automatic"),
            "client_secret": f"pi_secret_{uuid4().hex}",
            "created": int(time.time()),
            "currency": currency,
            "last_payment_error": None,
            "latest_charge": None,
            "metadata": read_metadata(form),
            "next_action": None,
            "payment_method": form.get("payment_method"),
            "status": "requires_payment_method",
        }
        if form.get("confirm") != "true":
            self._store.save(intent)
            return 200, intent
        if not intent["payment_method"]:
            raise BadRequest("Provide a payment method to confirm", param="payment_method")
        if behaviour.does in (Does.DECLINE, Does.ERROR):
            return self._refuse(intent, behaviour.code or "")
        return self._confirm(intent, form, page)

    def _confirm(self, intent: Object, form: Form, page: str) -> Result:
        """Charge, or challenge the customer: the amount chooses, as at the simulator."""
        outcome = OUTCOMES.get(intent["amount"] % 1000)
        if form.get("error_on_requires_action") == "true":
            return self._refuse(intent, "authentication_required") if outcome == "challenged" else self._charge(intent)
        if outcome != "challenged":
            return self._charge(intent, THREE_D_SECURE.get(outcome or ""))
        if not form.get("return_url"):
            raise BadRequest("Provide a return_url to confirm", param="return_url")
        redirect = {"return_url": form["return_url"], "url": f"{page}/{intent['id']}"}
        intent |= {"status": "requires_action", "next_action": {"type": "redirect_to_url", "redirect_to_url": redirect}}
        self._save(intent, "payment_intent.requires_action")
        return 200, intent

    def end_challenge(self, intent: Object, *, accepted: bool) -> None:
        if accepted:
            self._charge(intent, THREE_D_SECURE["challenged"])
        else:
            self._refuse(intent, "authentication_failed")

    def _refuse(self, intent: Object, reason: str) -> Result:
        code, decline_code = DECLINES[reason]
        refusal = error("card_error", "The card was declined.", code=code, decline_code=decline_code)["error"]
        intent |= {"last_payment_error": refusal, "payment_method": None, "next_action": None}
        intent["status"] = "requires_payment_method"
        self._save(intent, "payment_intent.payment_failed")
        return 402, {"error": refusal | {"payment_intent": intent}}

    def _charge(self, intent: Object, three_d_secure: Object | None = None) -> Result:
        charge: Object = {
            "id": f"ch_{uuid4().hex}",
            "object": "charge",
            "amount": intent["amount"],
            "created": int(time.time()),
            "currency": intent["currency"],
            "metadata": intent["metadata"],
            "payment_intent": intent["id"],
            "payment_method_details": {"type": "card", "card": {"three_d_secure": three_d_secure}},
        }
        self._store.save(charge)
        intent |= {"latest_charge": charge["id"], "next_action": None}
        if intent["capture_method"] == "manual":
            intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
            self._save(intent, "payment_intent.amount_capturable_updated")
        else:
            intent |= {"status": "succeeded", "amount_received": intent["amount"]}
            self._save(intent, "payment_intent.succeeded")
        return 200, intent

    def capture(self, intent: Object, form: Form) -> Result:
        if intent["status"] != "requires_capture":
            return self._unexpected_state(intent)
        left = intent["amount_capturable"]
        amount = read_amount(form, "amount_to_capture", intent["currency"]) if "amount_to_capture" in form else left
        if amount > left:
            return 400, error("invalid_request_error", "More than can be captured.", code="amount_too_large")
        intent["metadata"] |= read_metadata(form)
        intent["amount_received"] += amount
        if form.get("final_capture") == "false" and amount < left:
            intent["amount_capturable"] -= amount
            self._store.save(intent)
        else:
            intent |= {"status": "succeeded", "amount_capturable": 0}
            self._save(intent, "payment_intent.succeeded")
        return 200, intent

    def cancel(self, intent: Object) -> Result:
        if intent["status"] in ("succeeded", "canceled"):
            return self._unexpected_state(intent)
        intent |= {"status": "succeeded" if intent["amount_received"] else "canceled", "amount_capturable": 0}
        intent["next_action"] = None
        self._save(intent, "payment_intent.canceled")
        return 200, intent

    def refund(self, form: Form) -> Result:
        intent = self.find(form.get("payment_intent", ""), "payment_intent")
        amount = read_amount(form, "amount", intent["currency"])
        if self._disputes_with_money(intent["id"]):
            return 400, error("invalid_request_error", "The charge is disputed.", code="charge_disputed")
        if amount > self.left_of(intent):
            return 400, error("invalid_request_error", "More than is left.", code="charge_already_refunded")
        refund: Object = {
            "id": f"re_{uuid4().hex}",
            "object": "refund",
            "amount": amount,
            "created": int(time.time()),
            "currency": intent["currency"],
            "metadata": read_metadata(form),
            "payment_intent": intent["id"],
            "status": "succeeded",
        }
        self._save(refund, "refund.created")
        return 200, refund

    def expand(self, body: Object, paths: list[str]) -> Object:
        """Return the body with the objects that it names by their ids: `latest_charge`, or `data.latest_charge`."""
        for path in paths:
            field = path.removeprefix("data.")
            items = [body] if path == field else body["data"]
            expanded = [item | {field: self._store.find(item[field] or "")} for item in items]
            body = expanded[0] if path == field else body | {"data": expanded}
        return body

    def refunds_of(self, intent: str) -> list[Object]:
        return [refund for refund in self._store.newest("refund") if refund["payment_intent"] == intent]

    def disputes_of(self, intent: str) -> list[Object]:
        return [dispute for dispute in self._store.newest("dispute") if dispute["payment_intent"] == intent]

    def left_of(self, intent: Object) -> int:
        """Return what the payment took, and neither a refund nor a dispute has taken back."""
        taken = [*self.refunds_of(intent["id"]), *self._disputes_with_money(intent["id"])]
        return int(intent["amount_received"]) - sum(one["amount"] for one in taken)

    def _disputes_with_money(self, intent: str) -> list[Object]:
        return [one for one in self.disputes_of(intent) if one["balance_transactions"] and one["status"] != "won"]

    def _unexpected_state(self, intent: Object) -> Result:
        message = f"This PaymentIntent is {intent['status']}."
        return 400, error(
            "invalid_request_error", message, code="payment_intent_unexpected_state", payment_intent=intent
        )

    def _save(self, item: Object, event_type: str) -> None:
        self._store.save(item)
        self._store.add_event(event_type, item, int(time.time()))
