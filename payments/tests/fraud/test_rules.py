"""Fraud scores can be explained: each rule alone, their sum, the threshold, and what happens without a score."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from payments import metrics
from payments.fraud.rules import RULES, MerchantContext, Verdict, check_weights, count_verdicts, score_payment
from payments.schemas import PaymentInput, PaymentMethod
from payments.tests.shop import Shop

CALM = PaymentInput(100, "EUR", customer="c_1", payment_method=PaymentMethod("card", token="tok_visa", country="DE"))


def merchant(*, threshold: float = 0.8, weights: Any = None, limit: int = 5000) -> MerchantContext:
    return MerchantContext("DE", threshold, {} if weights is None else weights, limit)


def payment(amount: int = 100, currency: str = "EUR", *, customer: str | None = "c_1", **method: str) -> PaymentInput:
    return PaymentInput(amount, currency, customer=customer, payment_method=PaymentMethod("card", **method))


def test_a_usual_payment_scores_nothing():
    assert score_payment(CALM, merchant()) == Verdict(0.0, [], blocked=False)


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (payment(customer=None), "no_customer"),
        (PaymentInput(100, "EUR", customer="c_1"), "no_payment_method"),
        (payment(country="FR"), "country_mismatch"),
        (payment(500_000), "high_amount"),
        (payment(4_999_999), "high_amount"),
        (payment(5_000_000), "very_high_amount"),
        (payment(token="tok_risky"), "risky_token"),
        (payment(token="tok_fraud"), "stolen_token"),
    ],
)
def test_each_rule_adds_its_weight_and_its_name(asked, rule):
    verdict = score_payment(asked, merchant())

    assert verdict.reasons == [rule]
    assert verdict.score == RULES[rule][0]


def test_a_country_of_high_risk_is_also_a_foreign_one():
    assert score_payment(payment(country="KP"), merchant()).reasons == ["country_mismatch", "high_risk_country"]


@pytest.mark.parametrize(
    ("amount", "currency", "rule"),
    [
        (499_999, "EUR", None),
        (4_999, "JPY", None),
        (5_000, "JPY", "high_amount"),
        (4_999_999, "KWD", None),
        (5_000_000, "KWD", "high_amount"),
        (50_000_000, "KWD", "very_high_amount"),
    ],
)
def test_amounts_are_high_in_major_units(amount, currency, rule):
    assert score_payment(payment(amount, currency), merchant()).reasons == ([rule] if rule else [])


def test_weights_add_up():
    verdict = score_payment(payment(500_000, customer=None, country="FR"), merchant())

    assert verdict.reasons == ["no_customer", "country_mismatch", "high_amount"]
    assert verdict.score == pytest.approx(0.05 + 0.15 + 0.2)


def test_a_score_is_at_most_one():
    verdict = score_payment(payment(5_000_000, token="tok_fraud", country="IR", customer=None), merchant())

    assert verdict.score == 1.0
    assert verdict.blocked


@pytest.mark.parametrize(("threshold", "blocked"), [(0.0, True), (0.2, True), (0.2001, False), (1.0, False)])
def test_a_payment_is_blocked_from_the_merchants_threshold_on(threshold, blocked):
    assert score_payment(payment(500_000), merchant(threshold=threshold)).blocked is blocked


def test_a_merchant_may_change_the_weights():
    weights = {"high_amount": 0.9, "country_mismatch": 0}

    verdict = score_payment(payment(500_000, country="FR"), merchant(weights=weights))

    assert verdict == Verdict(0.9, ["country_mismatch", "high_amount"], blocked=True)


WRONG_WEIGHTS = [
    None,
    [],
    [1],
    "",
    "high_amount",
    0,
    False,
    {"colour": 0.5},
    {"high_amount": 1.1},
    {"high_amount": -0.1},
    {"high_amount": "0.5"},
    {"high_amount": True},
    {"high_amount": None},
    {"high_amount": float("nan")},
]


@pytest.mark.parametrize("weights", WRONG_WEIGHTS)
def test_wrong_weights_have_separate_messages(weights):
    with pytest.raises(ValueError, match=r"fraud_weights|fraud rule|the weight"):
        check_weights(weights)


@pytest.mark.parametrize("weights", WRONG_WEIGHTS)
@pytest.mark.parametrize(("amount", "blocked"), [(4999, False), (5000, True)])
def test_a_payment_that_cannot_be_scored_passes_below_the_merchants_limit(weights, amount, blocked):
    context = MerchantContext("DE", 0.8, weights, 5000)

    assert score_payment(payment(amount), context) == Verdict(None, ["unscored"], blocked=blocked)


def test_a_payment_that_cannot_be_scored_is_logged_with_its_reason(caplog):
    with caplog.at_level(logging.ERROR, "payments.fraud"):
        score_payment(CALM, merchant(weights={"colour": 1}))

    assert "colour" in caplog.records[0].reason


def test_scores_and_their_absence_are_counted():
    unscored, scored = metrics.FRAUD_UNSCORED._value.get(), metrics.FRAUD_SCORE.histogram._sum.get()

    count_verdicts([Verdict(None, ["unscored"], blocked=False), Verdict(0.25, [], blocked=False)])

    assert metrics.FRAUD_UNSCORED._value.get() == unscored + 1
    assert metrics.FRAUD_SCORE.histogram._sum.get() == pytest.approx(scored + 0.25)


LISTED = {"customer": "c_1", "token": "tok_visa", "country": "DE"}


@pytest.mark.parametrize("field", LISTED)
def test_an_entry_of_the_block_list_blocks_a_payment_that_scores_nothing(field):
    context = replace(merchant(), blocked=frozenset({(field, LISTED[field])}))

    assert score_payment(CALM, context) == Verdict(0.0, [f"block_list:{field}"], True, "block_list")


@pytest.mark.parametrize("field", LISTED)
def test_an_entry_of_the_allow_list_accepts_whatever_the_score_is(field):
    context = replace(merchant(threshold=0), allowed=frozenset({(field, LISTED[field])}))

    assert score_payment(CALM, context) == Verdict(0.0, [f"allow_list:{field}"], False, "allow_list")


@pytest.mark.parametrize(("blocked", "allowed"), [("customer", "country"), ("country", "token"), ("token", "customer")])
def test_the_block_list_counts_more_than_the_allow_list(blocked, allowed):
    lists = {"blocked": frozenset({(blocked, LISTED[blocked])}), "allowed": frozenset({(allowed, LISTED[allowed])})}

    verdict = score_payment(CALM, replace(merchant(), **lists))

    assert (verdict.blocked, verdict.reasons) == (True, [f"block_list:{blocked}"])


@pytest.mark.parametrize("entry", [("customer", "c_2"), ("customer", "C_1"), ("token", "c_1"), ("country", "FR")])
def test_entries_with_other_values_leave_the_decision_to_the_rules(entry):
    context = replace(merchant(), blocked=frozenset({entry}), allowed=frozenset({("customer", "c_3")}))

    assert score_payment(CALM, context) == Verdict(0.0, [], blocked=False)


def test_a_payment_without_the_listed_fields_is_scored_by_the_rules():
    context = replace(merchant(), blocked=frozenset(LISTED.items()))

    assert score_payment(PaymentInput(100, "EUR"), context).decided_by == "rules"


def test_reasons_name_the_rules_beside_the_entries():
    context = replace(merchant(), allowed=frozenset({("customer", "c_1"), ("token", "tok_fraud")}))

    verdict = score_payment(payment(token="tok_fraud"), context)

    assert verdict == Verdict(1.0, ["stolen_token", "allow_list:customer", "allow_list:token"], False, "allow_list")


@pytest.mark.parametrize(("name", "blocked"), [("blocked", True), ("allowed", False)])
def test_lists_decide_about_payments_that_cannot_be_scored(name, blocked):
    context = replace(merchant(weights=[1], limit=50), **{name: frozenset({("customer", "c_1")})})

    verdict = score_payment(CALM, context)

    assert (verdict.score, verdict.blocked) == (None, blocked)


@pytest.mark.processes
@pytest.mark.parametrize(("limit", "status"), [(1251, "succeeded"), (1250, "blocked")])
@pytest.mark.usefixtures("shop")
def test_a_merchant_whose_weights_are_wrong_still_sells_small_things(limit, status):
    """Such weights can only come from outside of the admin, which refuses them."""
    payment = Shop.open(fraud_weights=[1], unscored_limit_minor=limit).pay(1250).body

    assert (payment.status, payment.fraud.score, payment.fraud.reasons) == (status, None, ["unscored"])
