"""Fraud scoring by rules and lists: each rule that matches adds its weight, and its name is stored.

A pure function of the payment and the merchant. A payment that reaches the merchant's threshold is blocked before the
gateway is called; one that reaches the review threshold is held for an operator. The merchant's block list blocks
whatever the score is. Where it does not, the allow list accepts whatever the score is. Velocity rules need the counters
of the database, and are applied afterwards (`payments/fraud/velocity.py`).

If a payment cannot be scored because the merchant's own weights are invalid, it is accepted below the merchant's
`unscored_limit_minor` and blocked from that amount on, with the reason in both cases. A small loss is better than a
closed shop; a large one is not.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from payments import metrics
from payments.currencies import to_major
from payments.schemas import PaymentInput
from payments.states import ExceededOutcome

logger = logging.getLogger("payments.fraud")

# In major units of any currency: a rough rule, not an exchange rate.
HIGH_AMOUNT = 5_000
VERY_HIGH_AMOUNT = 50_000
# Countries under a call for action by the FATF (June 2025 list).
HIGH_RISK_COUNTRIES = frozenset(["IR", "KP", "MM"])
# Test tokens, as acquirers offer them.
TEST_TOKENS = {"tok_fraud": 1.0, "tok_risky": 0.6}


@dataclass(frozen=True)
class VelocityLimit:
    """A velocity rule: at most `maximum` payments with one value in a window, or minor units of a currency."""

    rule: int
    field: Literal["customer", "token", "country"]
    window_seconds: int
    maximum: int
    outcome: ExceededOutcome
    currency: str | None = None  # of a sum; a number of payments has none

    @property
    def is_sum(self) -> bool:
        return self.currency is not None

    @property
    def reason(self) -> str:
        return f"velocity:{self.field}:{'sum' if self.is_sum else 'count'}:{self.window_seconds}"


@dataclass(frozen=True)
class MerchantContext:
    """The data of the merchant that the rules use."""

    country: str
    fraud_threshold: float
    fraud_weights: Any
    unscored_limit_minor: int
    # Entries of the lists: (field, value).
    blocked: frozenset[tuple[str, str]] = frozenset()
    allowed: frozenset[tuple[str, str]] = frozenset()
    review_threshold: float | None = None
    velocity: tuple[VelocityLimit, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """`score` is None if the payment could not be scored. `reasons` name rules, and entries such as
    `block_list:customer`: with the payment's own value, this is one entry of the merchant. `review` holds a payment
    that is not blocked.
    """

    score: float | None
    reasons: list[str]
    blocked: bool
    decided_by: Literal["rules", "allow_list", "block_list", "velocity"] = "rules"
    review: bool = False


Rule = Callable[[PaymentInput, MerchantContext], bool]


def _country(payment: PaymentInput) -> str | None:
    return payment.payment_method.country if payment.payment_method else None


def _token(payment: PaymentInput) -> str | None:
    return payment.payment_method.token if payment.payment_method else None


def get_values(payment: PaymentInput) -> dict[str, str | None]:
    """Return the values that lists and velocity rules look at."""
    return {"customer": payment.customer, "token": _token(payment), "country": _country(payment)}


def _major(payment: PaymentInput) -> float:
    return to_major(payment.amount, payment.currency)


# The rules, with their default weights, which a merchant's `fraud_weights` can replace.
RULES: dict[str, tuple[float, Rule]] = {
    "no_customer": (0.05, lambda payment, merchant: payment.customer is None),
    "no_payment_method": (0.05, lambda payment, merchant: payment.payment_method is None),
    "country_mismatch": (0.15, lambda payment, merchant: _country(payment) not in (None, merchant.country)),
    "high_risk_country": (0.5, lambda payment, merchant: _country(payment) in HIGH_RISK_COUNTRIES),
    "high_amount": (0.2, lambda payment, merchant: HIGH_AMOUNT <= _major(payment) < VERY_HIGH_AMOUNT),
    "very_high_amount": (0.4, lambda payment, merchant: _major(payment) >= VERY_HIGH_AMOUNT),
    "risky_token": (TEST_TOKENS["tok_risky"], lambda payment, merchant: _token(payment) == "tok_risky"),
    "stolen_token": (TEST_TOKENS["tok_fraud"], lambda payment, merchant: _token(payment) == "tok_fraud"),
}


def check_weights(weights: Any) -> None:
    """Raise ValueError with the reason, unless `weights` maps rules to numbers from 0 to 1."""
    if not isinstance(weights, dict):
        raise ValueError("fraud_weights must be an object of rules and numbers")
    for name, weight in weights.items():
        if name not in RULES:
            raise ValueError(f"there is no fraud rule {name!r}; there are {', '.join(RULES)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise ValueError(f"the weight of {name!r} must be a number from 0 to 1")


def get_weight(name: str, merchant: MerchantContext) -> float:
    """Return the weight of a rule, for a merchant whose weights are valid."""
    return float(merchant.fraud_weights.get(name, RULES[name][0]))


def score_payment(payment: PaymentInput, merchant: MerchantContext) -> Verdict:
    """Decide by the lists, if an entry matches, and otherwise by the rules, whose score is returned in both cases."""
    verdict = _apply_rules(payment, merchant)
    if merchant.blocked or merchant.allowed:
        return _apply_lists(verdict, payment, merchant)
    return verdict


def _apply_lists(verdict: Verdict, payment: PaymentInput, merchant: MerchantContext) -> Verdict:
    values = get_values(payment)
    blocking = [f"block_list:{name}" for name, value in values.items() if (name, value) in merchant.blocked]
    if blocking:
        reasons = verdict.reasons + blocking
        return replace(verdict, reasons=reasons, blocked=True, decided_by="block_list", review=False)
    allowing = [f"allow_list:{name}" for name, value in values.items() if (name, value) in merchant.allowed]
    if allowing:
        reasons = verdict.reasons + allowing
        return replace(verdict, reasons=reasons, blocked=False, decided_by="allow_list", review=False)
    return verdict


def _apply_rules(payment: PaymentInput, merchant: MerchantContext) -> Verdict:
    """Return the sum of the weights of all matching rules, at most 1, and their names."""
    try:
        if merchant.fraud_weights != {}:
            check_weights(merchant.fraud_weights)
    except ValueError as error:
        return _unscored(payment, merchant, error)
    weights = merchant.fraud_weights
    reasons = [name for name, (_, applies) in RULES.items() if applies(payment, merchant)]
    score = min(1.0, round(sum((weights.get(name, RULES[name][0]) for name in reasons), 0.0), 4))
    blocked = score >= merchant.fraud_threshold
    held = not blocked and merchant.review_threshold is not None and score >= merchant.review_threshold
    return Verdict(score, reasons, blocked, review=held)


def _unscored(payment: PaymentInput, merchant: MerchantContext, error: ValueError) -> Verdict:
    logger.error("fraud_unscored", extra={"reason": str(error)})
    return Verdict(None, ["unscored"], blocked=payment.amount >= merchant.unscored_limit_minor)


def count_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Count those of stored payments, each once: a replay is scored too, because only the database detects it."""
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    metrics.FRAUD_SCORE.observe(*scores)
    if len(scores) < len(verdicts):
        metrics.FRAUD_UNSCORED.inc(len(verdicts) - len(scores))
