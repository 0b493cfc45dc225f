"""`POST /v1/fraud/try` decides as a payment would be decided, and stores nothing."""

import secrets
from typing import Any

import pytest
from django.test import Client

from payments import metrics
from payments.api_keys import create_api_key
from payments.models import Event, FraudListEntry, IdempotencyKey, Merchant, Transaction

pytestmark = pytest.mark.django_db
BODY = {"amount": 1250, "currency": "EUR", "customer": "c_1", "payment_method": {"type": "card", "country": "FR"}}


def post(path: str, body: Any, merchant: Merchant, *, scopes: tuple[str, ...] = ("payments:write",)) -> Any:
    _, secret = create_api_key(merchant=merchant, name="test", scopes=scopes)
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": secrets.token_hex(12)}
    return Client().post(path, body, content_type="application/json", headers=headers)


def attempt(merchant: Merchant, body: Any = None, **options: Any) -> Any:
    return post("/v1/fraud/try", body or BODY, merchant, **options)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"amount": 1, "amount": 2, "currency": "EUR"}',
        {},
        {**BODY, "amount": 0},
        {**BODY, "amount": 10**12},
        {**BODY, "currency": "ABC"},
        {**BODY, "colour": "red"},
        {**BODY, "customer": "4111111111111111"},
        {**BODY, "customer": "a\0"},
        {**BODY, "payment_method": {"type": "card", "country": "FRA"}},
        {**BODY, "return_url": "http://shop.example/"},
        {**BODY, "return_url": "https://not-listed.example/"},
    ],
)
def test_a_body_is_refused_as_it_is_for_a_payment(merchant, body):
    refusal, of_a_payment = (post(path, body, merchant) for path in ("/v1/fraud/try", "/v1/transactions"))

    assert refusal.status_code == of_a_payment.status_code in (400, 422)
    for problem in (first := refusal.json(), second := of_a_payment.json()):
        del problem["request_id"]
    assert first == second


@pytest.mark.parametrize("scopes", [(), ("payments:read", "refunds:write", "webhooks:write")])
def test_it_takes_the_scope_of_a_payment(merchant, scopes):
    answer = attempt(merchant, scopes=scopes)

    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_scope")


def test_it_takes_a_key():
    assert Client().post("/v1/fraud/try", BODY, content_type="application/json").status_code == 401


def test_it_can_only_be_posted(merchant):
    _, secret = create_api_key(merchant=merchant, name="test", scopes=["payments:read", "payments:write"])

    assert Client().get("/v1/fraud/try", headers={"Authorization": f"Bearer {secret}"}).status_code == 405


def test_it_is_limited_like_other_requests(merchant, monkeypatch):
    monkeypatch.setattr("payments.api.base.throttle.take", lambda key_id: 2.5)

    answer = attempt(merchant)

    assert (answer.status_code, answer["Retry-After"]) == (429, "3")


def test_rules_explain_their_decision(merchant):
    assert attempt(merchant).json() == {
        "decision": "accepted",
        "decided_by": "rules",
        "score": 0.15,
        "threshold": 0.8,
        "reasons": ["country_mismatch"],
        "weights": {"country_mismatch": 0.15},
    }


def test_the_merchants_weights_are_in_the_explanation(merchant):
    Merchant.objects.filter(pk=merchant.pk).update(fraud_weights={"country_mismatch": 1}, fraud_threshold=0.9)

    answer = attempt(merchant).json()

    assert (answer["decision"], answer["threshold"], answer["weights"]) == ("blocked", 0.9, {"country_mismatch": 1.0})


@pytest.mark.parametrize(("name", "decision"), [("block", "blocked"), ("allow", "accepted")])
def test_a_list_decides_and_its_entry_is_named(merchant, name, decision):
    FraudListEntry.objects.create(merchant=merchant, list=name, field="country", value="FR")

    answer = attempt(merchant).json()

    assert (answer["decision"], answer["decided_by"]) == (decision, f"{name}_list")
    assert answer["reasons"] == ["country_mismatch", f"{name}_list:country"]
    assert answer["weights"] == {"country_mismatch": 0.15}


def test_another_merchants_lists_do_not_count(merchant):
    other = Merchant.objects.create(name=f"Other than {merchant.name}", country="DE")
    FraudListEntry.objects.create(merchant=other, list="block", field="country", value="FR")

    assert attempt(merchant).json()["decided_by"] == "rules"


def test_a_payment_that_cannot_be_scored_has_no_weights(merchant):
    Merchant.objects.filter(pk=merchant.pk).update(fraud_weights=[1])

    answer = attempt(merchant).json()

    assert (answer["score"], answer["reasons"], answer["weights"]) == (None, ["unscored"], {})


def test_nothing_is_stored_or_counted(merchant):
    scores = metrics.FRAUD_SCORE.histogram._sum.get()

    assert attempt(merchant, {**BODY, "payment_method": {"type": "card", "token": "tok_fraud"}}).status_code == 200

    assert not Transaction.objects.filter(merchant=merchant).exists()
    assert not IdempotencyKey.objects.filter(merchant_id=merchant.pk).exists()
    assert not Event.objects.filter(transaction__merchant=merchant).exists()
    assert metrics.FRAUD_SCORE.histogram._sum.get() == scores
