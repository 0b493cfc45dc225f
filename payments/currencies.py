"""Currencies and their minor units, from ISO 4217."""

from fractions import Fraction

from iso4217 import Currency

# Metals, test codes and similar entries have no minor unit and are not allowed in a payment.
EXPONENTS: dict[str, int] = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}


def to_major(amount_minor: int, currency: str) -> float:
    """Convert: 1250 EUR is 12.5; 1250 JPY is 1250.0; 1250 KWD is 1.25."""
    return amount_minor / 10 ** EXPONENTS[currency]


def to_minor(amount_major: float, currency: str) -> int:
    """Return the nearest integer of minor units: metrics are floats, the ledger is not."""
    return round(Fraction(amount_major) * 10 ** EXPONENTS[currency])


def format_amount(amount_minor: int, currency: str) -> str:
    """Return `12.50 EUR`, for people."""
    exponent = EXPONENTS.get(currency, 0)
    sign, digits = ("-" if amount_minor < 0 else ""), str(abs(amount_minor)).rjust(exponent + 1, "0")
    whole, part = (digits[:-exponent], "." + digits[-exponent:]) if exponent else (digits, "")
    return f"{sign}{int(whole):,}{part} {currency}"
