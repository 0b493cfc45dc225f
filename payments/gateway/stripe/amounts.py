"""Amounts in Stripe's minor units, which differ from ISO 4217 in some currencies: docs.stripe.com/currencies."""

from payments.currencies import EXPONENTS
from payments.gateway.stripe.requests import NotSent

# Exponents that differ from ISO 4217, and the digits at the end that must be zero.
_EXPONENTS = {"ISK": 2, "UGX": 2, "MGA": 0}
_ZERO_DIGITS = {"ISK": 2, "UGX": 2, "BHD": 1, "JOD": 1, "KWD": 1, "OMR": 1, "TND": 1}


def to_stripe(amount: int, currency: str) -> int:
    """Convert minor units of ISO 4217 to Stripe's. Raises NotSent if Stripe cannot move exactly this amount."""
    shift = _EXPONENTS.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    scaled = amount * 10**shift if shift >= 0 else amount // 10**-shift
    if from_stripe(scaled, currency) != amount or scaled % 10 ** _ZERO_DIGITS.get(currency, 0):
        raise NotSent("amount_not_representable")
    return scaled


def from_stripe(amount: int, currency: str) -> int:
    shift = _EXPONENTS.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    return amount // 10**shift if shift >= 0 else amount * 10**-shift
