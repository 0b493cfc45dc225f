"""Requests to Stripe: their paths, the names that our operations have in them, and the ones that are not sent."""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec
from urllib.parse import quote
from uuid import UUID

from payments.gateway.base import Answer

VERSION = "2024-06-20"
INTENTS, REFUNDS, DISPUTES = "/v1/payment_intents", "/v1/refunds", "/v1/disputes"
PAGE_SIZE = 100
# The charge has the result of 3-D Secure: in one PaymentIntent, and in each one of a list.
WITH_CHARGE, WITH_CHARGES = "expand%5B%5D=latest_charge", "expand%5B%5D=data.latest_charge"
# The PaymentIntent has our key of the payment that is disputed.
WITH_INTENT, WITH_INTENTS = "expand%5B%5D=payment_intent", "expand%5B%5D=data.payment_intent"
# What the journal keeps of 3-D Secure.
THREE_D_SECURE = ("result", "authentication_flow", "electronic_commerce_indicator", "version")
# The smallest amount that Stripe accepts in every account is far below it.
FENCE = {"amount": 100, "currency": "usd", "description": "Occupies the key of an operation that never arrived."}

_CAPTURE_NAME = re.compile("capture_([0-9a-f]{32})")
Arguments = ParamSpec("Arguments")


class NotSent(ValueError):
    """A request that Stripe would refuse, or that would do something else; the message is the failure's code."""


def or_not_sent(operation: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Answer with an error if the operation raises NotSent: Stripe was not asked, so nothing was charged."""

    @wraps(operation)
    def send(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return operation(*args, **kwargs)
        except NotSent as reason:
            return Answer("error", str(reason))

    return send


def required(reference: str | None, code: str) -> str:
    """Return Stripe's name of an earlier operation. Raises NotSent with the code."""
    if reference is None:
        raise NotSent(code)
    return reference


def intent_path(reference: str | None) -> str:
    return f"{INTENTS}/{quote(reference or '', safe='')}"


def capture_name(key: UUID) -> str:
    return f"capture_{key.hex}"  # 40 characters, as many as a name in metadata may have


def captures_of(metadata: Mapping[str, Any]) -> list[tuple[UUID, int]]:
    """Return the keys of our captures, and Stripe's amounts."""
    found = ((_CAPTURE_NAME.fullmatch(name), str(amount)) for name, amount in metadata.items())
    return [(UUID(name[1]), int(amount)) for name, amount in found if name and amount.isascii() and amount.isdigit()]
