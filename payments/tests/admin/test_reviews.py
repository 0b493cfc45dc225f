"""Reviews in the admin: with a permission, a reason, and once."""

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from payments.models import Event, Review, Transaction
from payments.schemas import PaymentMethod
from payments.tests.factories import sign_in
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

LIST = "/admin/payments/transaction/"
DECISIONS = {"accept": "succeeded", "refuse": "voided"}


@pytest.fixture
def held(shop: Shop) -> Transaction:
    shop.change_merchant(review_threshold=0.5)
    reply = shop.pay(1000, payment_method=PaymentMethod("card", token="tok_risky"))
    assert reply.body.status == "in_review"
    return Transaction.objects.get(id=reply.body.id)


def send(client: Client, payment: Transaction, decision: str, **fields: Any) -> Any:
    form = {"key": str(uuid4()), **fields}
    return client.post(f"{LIST}{payment.pk}/{decision}/", form, follow=True)


def page(client: Client, payment: Transaction) -> str:
    return client.get(f"{LIST}{payment.pk}/change/").text


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("permissions", [(), ("view_transaction", "capture_transaction", "void_transaction")])
def test_without_the_permission_nothing_is_decided(held, decision, permissions):
    client = sign_in(*permissions)

    assert client.get(f"{LIST}{held.pk}/{decision}/").status_code == 403
    assert send(client, held, decision).status_code == 403
    assert not Review.objects.filter(transaction=held).exists()


@pytest.mark.parametrize("decision", DECISIONS)
def test_an_operator_decides_with_a_reason(held, decision):
    client = sign_in(group="finance")
    assert f"{decision.capitalize()}…" in page(client, held)

    answer = send(client, held, decision, reason="called the customer")

    assert answer.status_code == 200
    assert f"{'Accepted' if decision == 'accept' else 'Refused'} 10.00" in answer.text
    held.refresh_from_db()
    assert held.status == DECISIONS[decision]
    event = Event.objects.get(transaction=held, kind__startswith="review_")
    assert event.actor.startswith("admin:u")
    assert event.data == {"reason": "called the customer"}
    assert "called the customer" in page(client, held)


def test_a_payment_in_review_is_neither_captured_nor_voided(held):
    text = page(sign_in(group="finance"), held)

    assert "Accept…" in text
    assert "Capture…" not in text
    assert "Void…" not in text


def test_a_form_that_is_sent_twice_decides_once(held):
    client = sign_in(group="finance")
    key = str(uuid4())
    for _ in range(2):
        answer = send(client, held, "accept", key=key)

    assert "This acceptance of" in answer.text
    assert Review.objects.filter(transaction=held).count() == 1


def test_a_second_operator_is_refused_with_a_sentence(held):
    send(sign_in(group="finance"), held, "accept")
    answer = send(sign_in(group="finance"), held, "refuse")

    assert "A transaction that is succeeded is not in review." in answer.text


def test_a_wrong_reason_is_refused(held):
    answer = send(sign_in(group="finance"), held, "accept", reason="4111 1111 1111 1111")

    assert "Card numbers are not allowed" in answer.text
    assert not Review.objects.filter(transaction=held).exists()
