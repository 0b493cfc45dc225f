"""Payments with 3-D Secure in the admin: the challenge, its result, and nothing to do before the customer answers."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from payments.models import Authentication, Merchant, Transaction
from payments.tests.factories import make_payment, sign_in

LIST = "/admin/payments/transaction/"


@pytest.fixture
def finance() -> Client:
    return sign_in(group="finance")


def make_challenged(merchant: Merchant, status: str = "requires_action", **result: Any) -> Transaction:
    payment = make_payment(merchant, status=status, return_url="https://shop.example/back")
    now = timezone.now()
    Authentication.objects.create(
        transaction=payment,
        gateway_key=payment.gateway_key,
        url="https://bank.example/challenge",
        expires_at=now + timedelta(minutes=10),
        **(result | {"decided_at": now} if result else {"due_at": now + timedelta(hours=1)}),
    )
    return payment


def page(client: Client, payment: Transaction) -> str:
    return client.get(f"{LIST}{payment.pk}/change/").text


def test_an_open_challenge_shows_its_end_and_where_the_customer_returns(merchant, finance):
    shown = page(finance, make_challenged(merchant))

    assert "The customer has until <span" in shown
    assert "https://shop.example/back" in shown
    assert "requires_action" in shown


@pytest.mark.parametrize(
    ("status", "outcome", "bearer"),
    [
        ("succeeded", "authenticated", ("issuer", "The card&#x27;s bank")),
        ("declined", "failed", ("merchant", "Merchant")),
        ("declined", "abandoned", ("merchant", "Merchant")),
    ],
)
def test_a_decided_challenge_shows_its_result_and_who_bears_a_loss(merchant, finance, status, outcome, bearer):
    shown = page(finance, make_challenged(merchant, status, outcome=outcome, liability_shift=bearer[0]))

    assert outcome in shown
    assert bearer[1] in shown
    assert "The customer has until" not in shown


def test_a_payment_that_waits_for_its_customer_offers_no_action(merchant, finance):
    payment = make_challenged(merchant)

    shown = page(finance, payment)

    for operation in ("capture", "void", "refund", "review"):
        assert f"{payment.pk}/{operation}/" not in shown
        finance.post(f"{LIST}{payment.pk}/{operation}/", {"key": "k", "amount": 1, "decision": "accept"})
    payment.refresh_from_db()
    assert payment.status == "requires_action"
    assert not payment.refunds.exists()
