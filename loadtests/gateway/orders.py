"""An order to move money, read from a request and checked."""

import re
from typing import Any, NamedTuple

import orjson

from fintech.http.headers import is_joined

MAX_AMOUNT = 10**15
KEY = re.compile(r"[\x21-\x7e]{1,255}")
CURRENCY = re.compile(r"[A-Z]{3}")
MAX_URL_LENGTH = 2048
RETURN_URL = re.compile(r"https?://[\x21-\x7e]+")


class BadOrder(ValueError):
    """The request is invalid: nothing was charged. Answered with status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Order(NamedTuple):
    kind: str
    key: str
    amount: int
    currency: str
    charge: str | None = None  # the key of the charge or authorization that it follows
    final: bool | None = None  # of a capture: the rest is released
    return_url: str | None = None  # where the customer goes after a challenge


def check_key(key: str | None) -> str:
    if key is None or not KEY.fullmatch(key) or is_joined(key):
        raise BadOrder(400, "invalid_key", "Idempotency-Key must be one key of 1 to 255 visible ASCII characters.")
    return key


def read_object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadOrder(400, "invalid_json", "The body is not JSON.") from None
    if type(content) is not dict:
        raise BadOrder(422, "invalid_request", "The body must be a JSON object.")
    return content


def read_order(kind: str, key: str | None, body: bytes) -> Order:
    """Read an order. Other fields of the body (payment_method, reference) are neither needed nor stored."""
    key = check_key(key)
    content = read_object(body)
    amount, currency, charge = content.get("amount"), content.get("currency"), content.get("charge")
    if kind == "void":
        return Order(kind, key, 0, "", _check_charge(charge))  # it releases what is left
    if type(amount) is not int or not 1 <= amount <= MAX_AMOUNT:
        raise BadOrder(422, "invalid_request", f"amount must be a whole number from 1 to {MAX_AMOUNT}.")
    if type(currency) is not str or not CURRENCY.fullmatch(currency):
        raise BadOrder(422, "invalid_request", "currency must be three capital letters (ISO 4217).")
    if kind in ("charge", "authorization"):
        return Order(kind, key, amount, currency, return_url=_read_return_url(content))
    final = None
    if kind == "capture":
        final = content.get("final", True)
        if type(final) is not bool:
            raise BadOrder(422, "invalid_request", "final must be true or false.")
    return Order(kind, key, amount, currency, _check_charge(charge), final)


def _read_return_url(content: dict[str, Any]) -> str | None:
    """Return the `return_url` of an order that allows a challenge."""
    challenge, value = content.get("challenge", "not_allowed"), content.get("return_url")
    if challenge not in ("allowed", "not_allowed"):
        raise BadOrder(422, "invalid_request", "challenge must be allowed or not_allowed.")
    if challenge == "not_allowed":
        return None
    if type(value) is not str or len(value) > MAX_URL_LENGTH or not RETURN_URL.fullmatch(value):
        message = f"return_url must be an http or https URL of at most {MAX_URL_LENGTH} visible ASCII characters."
        raise BadOrder(422, "invalid_request", message)
    return value


def _check_charge(charge: Any) -> str:
    if type(charge) is not str or not KEY.fullmatch(charge):
        raise BadOrder(422, "invalid_request", "charge must be the key of the charge or authorization.")
    return charge
