"""Refunds from the admin, against the real gateway simulator: by whom, how much, and never twice."""

import re
import secrets
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from loadtests.tests.simulator import Simulator
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.registry import gateways
from payments.models import Event, Merchant, Refund, Transaction, Unresolved
from payments.services import resolution
from payments.services.resolution import resolve_one
from payments.tests.admin.clicks import click_three_times
from payments.tests.factories import make_payment, sign_in

pytestmark = pytest.mark.processes

LIST = "/admin/payments/transaction/"


@pytest.fixture(autouse=True)
def _this_gateway(gateway: Simulator, settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GATEWAY_URL, settings.GATEWAY_TOKEN = gateway.url, gateway.token
    monkeypatch.setitem(gateways.made, "simulator", HttpGateway(gateway.url, gateway.token))


@pytest.fixture
def payment(merchant: Merchant, gateway: Simulator) -> Transaction:
    payment = make_payment(merchant, amount=10_000)
    assert gateway.post_charge(str(payment.pk), 10_000).body["outcome"] == "approved"
    return payment


@pytest.fixture
def finance() -> Client:
    return sign_in(group="finance")


def form_of(payment: Transaction, **fields: object) -> dict[str, object]:
    """Return the form as a browser sends it; `key` is new for each form."""
    uuid = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-4{secrets.token_hex(2)[1:]}-8000-{secrets.token_hex(6)}"
    return {"amount": payment.amount, "reason": "", "key": uuid, **fields}


def send(client: Client, payment: Transaction, form: dict[str, object]) -> Any:
    return client.post(f"{LIST}{payment.pk}/refund/", form, follow=True)


def refunds(payment: Transaction) -> list[Refund]:
    return list(Refund.objects.filter(transaction=payment))


# --- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "permissions", [(), ("view_transaction",), ("refund_transaction",), ("view_transaction", "resolve_transaction")]
)
def test_without_the_permission_there_is_no_form_and_no_refund(payment, permissions):
    client = sign_in(*permissions)

    assert client.get(f"{LIST}{payment.pk}/refund/").status_code == 403
    assert send(client, payment, form_of(payment)).status_code == 403
    assert refunds(payment) == []


def test_a_refund_needs_the_token_of_a_page(payment):
    careless = sign_in(superuser=True, enforce_csrf_checks=True)

    assert send(careless, payment, form_of(payment)).status_code == 403
    assert refunds(payment) == []


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"amount": "10001"}, "10000 is left to refund"),
        ({"amount": "0"}, "greater than or equal to 1"),
        ({"amount": "-5"}, "greater than or equal to 1"),
        ({"amount": "12.50"}, "Enter a whole number"),
        ({"amount": "9" * 30}, "less than or equal to"),
        ({"amount": ""}, "This field is required"),
        ({"reason": "x" * 1001}, "length &lt;= 1000"),
        ({"reason": "card 4111 1111 1111 1111"}, "Card numbers are not allowed"),
        ({"reason": "a\0b"}, "Null characters are not allowed"),
        ({"key": ""}, "Open this form again"),
        ({"key": "mine"}, "Open this form again"),
    ],
)
def test_a_wrong_form_is_shown_again_and_nothing_moves(finance, payment, wrong, text):
    answer = send(finance, payment, form_of(payment, **wrong))

    assert answer.status_code == 200
    assert text in answer.text
    assert refunds(payment) == []


@pytest.mark.parametrize("status", ["declined", "blocked", "failed"])
def test_an_unsuccessful_payment_cannot_be_refunded(finance, merchant, status):
    payment = make_payment(merchant, status=status)

    assert "Nothing is left to refund" in finance.get(f"{LIST}{payment.pk}/refund/", follow=True).text
    assert f"A transaction that is {status} cannot be refunded" in send(finance, payment, form_of(payment)).text
    assert refunds(payment) == []


def test_an_unknown_payment_cannot_be_refunded(finance, payment):
    payment.pk = "00000000-0000-0000-0000-000000000000"

    assert send(finance, payment, form_of(payment)).status_code == 404


def test_a_form_that_was_used_cannot_refund_another_amount(finance, payment):
    form = form_of(payment, amount=4_000)
    send(finance, payment, form)
    answer = send(finance, payment, {**form, "amount": 5_000})

    assert "used before with another body: amount differs" in answer.text
    assert [refund.amount for refund in refunds(payment)] == [4_000]


def test_one_at_a_time_from_the_list(finance, payment, merchant):
    other = make_payment(merchant)
    body = {"action": "refund", "_selected_action": [payment.pk, other.pk], "index": 0}

    assert "Choose exactly one" in finance.post(LIST, body, follow=True).text


# --- Refunds -----------------------------------------------------------------------------------------------


def test_the_form_offers_all_that_is_left_and_a_key_of_its_own(finance, payment):
    pages = [finance.get(f"{LIST}{payment.pk}/refund/").text for _ in range(2)]

    assert 'value="10000"' in pages[0]
    assert "100.00 EUR, the full remaining amount" in pages[0]
    keys = {key for page in pages for key in re.findall(r'name="key" value="([0-9a-f-]{36})"', page)}
    assert len(keys) == 2


def test_a_refund_is_made_by_the_gateway_and_written_down_with_its_author(finance, payment, gateway):
    form = form_of(payment, amount=2_500, reason="One cup was broken")
    answer = send(finance, payment, form)

    assert "Refunded 25.00 EUR." in answer.text
    (refund,) = refunds(payment)
    assert (refund.status, refund.reason, refund.idempotency_key) == (
        "succeeded",
        "One cup was broken",
        f"admin-{form['key']}",
    )
    assert gateway.refund(str(refund.gateway_key))["amount"] == 2_500
    actors = Event.objects.filter(refund_id=refund.pk).values_list("kind", "actor")
    author = f"admin:{answer.wsgi_request.user.username}"
    assert list(actors) == [("refund_processing", author), ("refund_succeeded", author)]
    assert "75.00 EUR" in answer.text  # left to refund


def test_from_the_list_it_leads_to_the_form(finance, payment):
    answer = finance.post(LIST, {"action": "refund", "_selected_action": payment.pk, "index": 0})

    assert answer.headers["Location"] == f"{LIST}{payment.pk}/refund/"


def test_a_form_sent_again_refunds_once(finance, payment):
    form = form_of(payment, amount=3_000)
    first, second = send(finance, payment, form), send(finance, payment, form)

    assert "Refunded 30.00 EUR." in first.text
    assert "exists already: it is succeeded" in second.text
    assert [refund.amount for refund in refunds(payment)] == [3_000]


def test_a_double_click_refunds_once(payment, gateway):
    """The gateway takes a second (magic amount), so all three are in hand together or find the stored outcome."""
    client = sign_in(superuser=True)
    form = form_of(payment, amount=931)
    answers = click_three_times(client, lambda mine: send(mine, payment, form).text)

    assert sum("Refunded 9.31 EUR." in answer for answer in answers) == 1
    assert sum("already in progress" in answer or "exists already" in answer for answer in answers) == 2
    assert [refund.amount for refund in refunds(payment)] == [931]


def test_a_refund_that_the_gateway_declines_is_reported(finance, payment):
    answer = send(finance, payment, form_of(payment, amount=902))

    assert "The refund of 9.02 EUR failed: The bank declined without a reason." in answer.text
    assert [refund.status for refund in refunds(payment)] == ["failed"]


def test_a_refund_without_an_answer_is_left_to_the_resolver(finance, payment, gateway):
    answer = send(finance, payment, form_of(payment, amount=922))

    assert "not known yet; the resolver settles it" in answer.text
    assert "Waiting for the outcome" in answer.text
    (refund,) = refunds(payment)
    root = sign_in(superuser=True)
    assert "will handle 1" in root.post(f"{LIST}{payment.pk}/resolve/", follow=True).text
    assert Unresolved.objects.filter(resource_id=refund.pk, lease_until__lte=Now()).exists()
    lease = resolution.acquire_lease(refund.pk, actor="resolver")
    assert lease is not None
    assert resolve_one(lease) == "approved"
    assert not Unresolved.objects.filter(refund_id=refund.pk).exists()
    assert "9.22 EUR" in finance.get(f"{LIST}{payment.pk}/change/").text
