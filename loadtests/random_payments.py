"""The random payments that a load sends. Amounts are integers in the currency's minor unit.

Ordinary amounts never end in 900 to 999, the simulator's magic amounts; `SHARES` defines how many payments cause a
fault on purpose.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

# Currency: the median amount in minor units (ISO 4217: JPY has no decimals, KWD three).
MEDIANS = {"EUR": 2_490, "USD": 2_790, "GBP": 2_190, "JPY": 3_900, "KWD": 8_250}
WEIGHTS = (45, 25, 15, 10, 5)
COUNTRIES = ("DE", "FR", "GB", "US", "JP", "KW", "NL", "ES", "BR", "IN")
CUSTOMERS = 2_000

# The last three digits of an amount that causes a fault, and its share of all payments. Those that fail (911) spend
# half of the error budget of 0.1 %, so ordinary traffic meets its objective.
SHARES = {901: 0.02, 902: 0.01, 903: 0.005, 904: 0.005, 911: 0.0005, 922: 0.002}
NEVER_CHARGED = (901, 902, 903, 904, 911)


@dataclass
class Payment:
    """A payment of the merchant, and its reported state."""

    key: str
    body: dict[str, Any]
    id: str | None = None
    status: str = "processing"
    refunded: int = 0  # expected back, given or not
    asked_at: float = field(default=0.0)  # seconds, on the caller's clock

    @property
    def left(self) -> int:
        return self.body["amount"] - self.refunded if self.status == "succeeded" else 0


def ordinary(amount: int) -> int:
    """Return the amount, or one near it that is not magic in the gateway simulator."""
    return amount - 100 if amount % 1000 >= 900 else amount


def new_amount(random: Random, currency: str) -> int:
    amount = ordinary(1 + round(MEDIANS[currency] * random.lognormvariate(0, 0.8)))
    draw = random.random()
    for ending, share in SHARES.items():
        draw -= share
        if draw < 0:
            return amount - amount % 1000 + ending
    return amount


def new_payment(random: Random) -> Payment:
    currency = random.choices(list(MEDIANS), WEIGHTS)[0]
    body = {
        "amount": new_amount(random, currency),
        "currency": currency,
        "customer": f"c_{random.randrange(CUSTOMERS)}",
        "description": "Load test",
        "reference": f"order-{random.randrange(10**9)}",
        "payment_method": {"type": "card", "token": "tok_visa", "country": random.choice(COUNTRIES)},
        "metadata": {"source": "loadtests"},
    }
    return Payment(str(uuid4()), body)
