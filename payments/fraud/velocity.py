"""Velocity rules: how many payments of one customer, token or card country a merchant takes in a sliding window.

The counters are in the database, which all processes share (`payments/storage/velocity_sql.py`). This module
knows which counters a payment belongs to, and what exceeding a rule means for it.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson
from django.db.models.functions import Now

from fintech.database.sql import execute, fetch_one
from payments.fraud.rules import MerchantContext, Verdict, get_values
from payments.models import RefusedRetry, Transaction
from payments.schemas import PaymentInput
from payments.states import ChargeStatus, ExceededOutcome
from payments.storage.velocity_sql import FORGET, TRY

# The counters that one statement deletes, well within statement_timeout.
BATCH_SIZE = 10_000


def _attempts_of(payment: PaymentInput, verdict: Verdict, merchant: MerchantContext) -> list[dict[str, Any]]:
    """Return what the payment adds to the merchant's counters, and what exceeding each means.

    Nothing, if the allow list has accepted it: it counts, and the reasons name the rule.
    """
    values = get_values(payment)
    return [
        {
            "rule": limit.rule,
            "value": values[limit.field],
            "amount": payment.amount if limit.is_sum else 1,
            "maximum": limit.maximum,
            "window_seconds": limit.window_seconds,
            "outcome": None if verdict.decided_by == "allow_list" else limit.outcome,
            "reason": limit.reason,
        }
        for limit in merchant.velocity
        if values[limit.field] is not None and limit.currency in (None, payment.currency)
    ]


def apply_exceeded(verdict: Verdict, reasons: Iterable[str], outcome: ExceededOutcome | None) -> Verdict:
    """Return the verdict after the rules that the payment exceeds. A review changes nothing of a blocked payment."""
    verdict = replace(verdict, reasons=[*verdict.reasons, *reasons])
    if outcome == "block" and not verdict.blocked:
        return replace(verdict, blocked=True, review=False, decided_by="velocity")
    if outcome == "review" and not verdict.blocked and not verdict.review:
        return replace(verdict, review=True, decided_by="velocity")
    return verdict


def is_held(payment: PaymentInput, verdict: Verdict) -> bool:
    """Return True if the gateway only authorizes the payment: for the merchant, or for a review."""
    return not payment.capture or verdict.review


def decided_columns(payment: PaymentInput, verdict: Verdict) -> dict[str, Any]:
    """Return the columns of a new payment that its verdict decides, without those that are NULL or false."""
    columns: dict[str, Any] = {"status": ChargeStatus.PROCESSING}
    if verdict.blocked:
        columns = {"status": ChargeStatus.BLOCKED, "failure_code": "fraud_blocked"}
    if is_held(payment, verdict):
        columns["manual_capture"] = True
    if verdict.review:
        columns["review"] = Transaction.Review.CAPTURE if payment.capture else Transaction.Review.HOLD
    return columns


def velocity_columns(payment: PaymentInput, verdict: Verdict, merchant: MerchantContext) -> dict[str, Any]:
    """Return what T1 needs to apply the merchant's rules: the attempts, and the columns for each outcome of them."""
    outcomes: dict[str, ExceededOutcome | None] = {"none": None, "review": "review", "block": "block"}
    decided = {
        name: decided_columns(payment, apply_exceeded(verdict, (), outcome)) for name, outcome in outcomes.items()
    }
    return {"velocity": _attempts_of(payment, verdict, merchant), "decided": decided}


def try_payment(payment: PaymentInput, verdict: Verdict, merchant: MerchantContext) -> Verdict:
    """Return the verdict as if the payment were made now. Nothing is counted."""
    attempts = _attempts_of(payment, verdict, merchant)
    if not attempts:
        return verdict
    exceeded = fetch_one(TRY, {"velocity": orjson.dumps(attempts).decode()})
    return verdict if exceeded is None else apply_exceeded(verdict, orjson.loads(exceeded[0]), exceeded[1])


def forget_expired() -> None:
    """Delete what no longer decides: counters whose windows are over, and refusals of retries whose time is over."""
    while execute(FORGET, {"most": BATCH_SIZE}) == BATCH_SIZE:
        pass
    RefusedRetry.objects.filter(until__lt=Now()).delete()
