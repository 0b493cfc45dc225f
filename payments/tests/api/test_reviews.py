"""`POST /v1/transactions/{id}/review`: wrong requests are refused precisely, and store nothing."""

import secrets
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from payments.api_keys import create_api_key
from payments.models import ApiKey, IdempotencyKey, Merchant, Review, VelocityRule
from payments.tests.factories import make_payment

pytestmark = pytest.mark.django_db


def post(merchant: Merchant, payment: object, body: Any, *, key: str | None = "k", **options: Any) -> Any:
    scopes = options.pop("scopes", ["reviews:write"])
    _, secret = create_api_key(merchant=merchant, name="test", scopes=scopes)
    headers = {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": key} if key else {})
    path = f"/v1/transactions/{payment}/review"
    return Client().post(path, body, content_type="application/json", headers=headers, **options)


def nothing_is_stored(merchant: Merchant) -> bool:
    decisions = Review.objects.filter(transaction__merchant=merchant)
    keys = IdempotencyKey.objects.filter(merchant_id=merchant.pk, kind="review")
    return not decisions.exists() and not keys.exists()


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"{", 400, "invalid_json", None),
        ([], 422, "invalid_value", "body"),
        ({}, 422, "missing_field", "decision"),
        ({"decision": None}, 422, "invalid_value", "decision"),
        ({"decision": "maybe"}, 422, "invalid_value", "decision"),
        ({"decision": True}, 422, "invalid_value", "decision"),
        ({"decision": "accept", "amount": 5}, 422, "unknown_field", "amount"),
        ({"decision": "accept", "reason": 5}, 422, "invalid_value", "reason"),
        ({"decision": "accept", "reason": "x" * 1001}, 422, "invalid_value", "reason"),
        ({"decision": "accept", "reason": "a\0"}, 422, "invalid_text", "reason"),
        ({"decision": "refuse", "reason": "4111 1111 1111 1111"}, 422, "card_number", "reason"),
    ],
)
def test_a_wrong_body_is_refused(merchant, body, status, code, param):
    answer = post(merchant, make_payment(merchant).pk, body)

    assert (answer.status_code, answer.json()["code"], answer.json().get("param")) == (status, code, param)
    assert nothing_is_stored(merchant)


@pytest.mark.parametrize("status", ["succeeded", "declined", "failed", "blocked", "processing", "unknown"])
def test_a_payment_that_is_not_in_review_is_a_conflict(merchant, status):
    answer = post(merchant, make_payment(merchant, status=status).pk, {"decision": "accept"})

    assert (answer.status_code, answer.json()["code"]) == (409, "not_in_review")
    assert answer.json()["detail"] == f"A transaction that is {status} is not in review."
    assert nothing_is_stored(merchant)


@pytest.mark.parametrize("scopes", [[], [scope for scope in ApiKey.Scope.values if scope != "reviews:write"]])
def test_it_takes_a_scope_of_its_own(merchant, scopes):
    answer = post(merchant, make_payment(merchant).pk, {"decision": "accept"}, scopes=scopes)

    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_scope")
    assert nothing_is_stored(merchant)


@pytest.mark.parametrize(("key", "code"), [(None, "missing_idempotency_key"), ("a b", "invalid_idempotency_key")])
def test_it_takes_an_idempotency_key(merchant, key, code):
    answer = post(merchant, make_payment(merchant).pk, {"decision": "accept"}, key=key)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("payment", [UUID(int=0), "x"])
def test_a_payment_that_does_not_exist_is_not_found(merchant, payment):
    assert post(merchant, payment, {"decision": "accept"}).status_code == 404


def test_another_merchants_payment_is_not_found(merchant):
    other = Merchant.objects.create(name=f"Other {secrets.token_hex(8)}", country="DE")

    assert post(other, make_payment(merchant).pk, {"decision": "accept"}).status_code == 404
    assert nothing_is_stored(other)


def test_a_key_of_a_payment_decides_nothing(merchant):
    payment = make_payment(merchant)
    answer = post(merchant, payment.pk, {"decision": "accept"}, key=payment.idempotency_key)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert answer.json()["detail"] == "This key was used for another request: a payment."


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_it_can_only_be_posted(merchant, method):
    _, secret = create_api_key(merchant=merchant, name="test", scopes=list(ApiKey.Scope.values))
    call = getattr(Client(), method)

    answer = call(f"/v1/transactions/{UUID(int=0)}/review", headers={"Authorization": f"Bearer {secret}"})

    assert answer.status_code == 405


# --- What a trial says about it ----------------------------------------------------------------------------


def attempt(merchant: Merchant) -> Any:
    _, secret = create_api_key(merchant=merchant, name="test", scopes=["payments:write"])
    body = {"amount": 1250, "currency": "EUR", "customer": "c_1", "payment_method": {"type": "card", "country": "FR"}}
    headers = {"Authorization": f"Bearer {secret}"}
    return Client().post("/v1/fraud/try", body, content_type="application/json", headers=headers).json()


def test_a_trial_says_that_the_score_needs_a_review(merchant):
    Merchant.objects.filter(pk=merchant.pk).update(review_threshold=0.15)

    answer = attempt(merchant)

    assert (answer["decision"], answer["decided_by"], answer["review_threshold"]) == ("review", "rules", 0.15)


@pytest.mark.parametrize(("outcome", "decision"), [("block", "blocked"), ("review", "review")])
def test_a_trial_says_that_a_velocity_rule_decides(merchant, outcome, decision):
    VelocityRule.objects.create(
        merchant=merchant, field="customer", measure="count", window_seconds=3600, maximum=0, outcome=outcome
    )

    answer = attempt(merchant)

    assert (answer["decision"], answer["decided_by"]) == (decision, "velocity")
    assert answer["reasons"] == ["country_mismatch", "velocity:customer:count:3600"]


def test_a_disabled_rule_decides_nothing(merchant):
    VelocityRule.objects.create(
        merchant=merchant,
        field="customer",
        measure="count",
        window_seconds=3600,
        maximum=0,
        outcome="block",
        is_enabled=False,
    )

    assert attempt(merchant)["decided_by"] == "rules"
