"""3-D Secure in Stripe's objects: the challenge of a PaymentIntent, and the result in its charge.

Stripe sets no time for a challenge. Ours counts from the creation of the PaymentIntent, so that every answer about one
challenge names the same end.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings

from payments.gateway.base import AuthenticationResult, Challenge

# The results for which the issuer bears the loss, unless the indicator of the card network says otherwise.
SHIFTED = ("authenticated", "attempt_acknowledged")
NOT_SHIFTED_INDICATORS = ("00", "07")


def read_challenge(intent: dict[str, Any]) -> Challenge | None:
    """Return where the customer authenticates, or None if that is not a page that we can name."""
    redirect = _object(_object(intent.get("next_action")).get("redirect_to_url"))
    created = intent.get("created")
    if type(created) is not int:
        return None
    with suppress(msgspec.ValidationError, OverflowError, ValueError, OSError):
        expires_at = datetime.fromtimestamp(created, UTC) + timedelta(seconds=settings.STRIPE_CHALLENGE_SECONDS)
        return msgspec.convert({"url": redirect.get("url"), "expires_at": expires_at}, Challenge)
    return None


def read_authentication(intent: dict[str, Any], *, approved: bool) -> AuthenticationResult | None:
    """Return the result in a PaymentIntent whose `latest_charge` is expanded, if it has one that we know."""
    details = three_d_secure_of(intent)
    match details.get("result"), details.get("authentication_flow"):
        case "authenticated", "challenge":
            outcome = "authenticated"
        case (("authenticated" | "attempt_acknowledged"), _):
            outcome = "frictionless"
        case "exempted", _:
            outcome = "exempt"
        case "failed", _ if not approved:
            outcome = "failed"
        case _:
            return None
    is_shifted = approved and details["result"] in SHIFTED
    if details.get("electronic_commerce_indicator") in NOT_SHIFTED_INDICATORS:
        is_shifted = False
    return AuthenticationResult(outcome, "issuer" if is_shifted else "merchant")


def three_d_secure_of(intent: dict[str, Any]) -> dict[str, Any]:
    charge = _object(intent.get("latest_charge"))  # its id, if it is not expanded
    card = _object(_object(charge.get("payment_method_details")).get("card"))
    return _object(card.get("three_d_secure"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
