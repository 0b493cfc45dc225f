"""Captures and voids from the admin, against the real gateway simulator: by whom, how much, and never twice."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client

from payments.models import Capture, Event, Transaction, Unresolved, Void
from payments.services import resolution
from payments.services.resolution import resolve_one
from payments.tests.admin.clicks import click_three_times
from payments.tests.consistency import check_books
from payments.tests.factories import make_payment, sign_in
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

LIST = "/admin/payments/transaction/"
FORMS: dict[str, dict[str, Any]] = {"capture": {"amount": 400}, "void": {"reason": "out of stock"}}
MODELS: dict[str, type[Capture] | type[Void]] = {"capture": Capture, "void": Void}


@pytest.fixture
def authorized(shop: Shop) -> Transaction:
    reply = shop.pay(1000, capture=False)
    assert reply.body.status == "authorized"
    return Transaction.objects.get(id=reply.body.id)


@pytest.fixture
def finance() -> Client:
    return sign_in(group="finance")


def send(client: Client, payment: Transaction, operation: str, **fields: Any) -> Any:
    form = {"key": str(uuid4()), **fields}
    return client.post(f"{LIST}{payment.pk}/{operation}/", form, follow=True)


def made(payment: Transaction) -> list[tuple[str, int, str]]:
    """Return all captures and voids."""
    return [
        (name, row.amount, row.status)
        for name, model in MODELS.items()
        for row in model.objects.filter(transaction=payment).order_by("id")
    ]


def page(client: Client, payment: Transaction) -> str:
    return client.get(f"{LIST}{payment.pk}/change/").text


# --- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", FORMS)
@pytest.mark.parametrize(
    "permissions", [(), ("view_transaction",), ("view_transaction", "refund_transaction", "resolve_transaction")]
)
def test_without_the_permission_there_is_no_form_and_nothing_moves(authorized, operation, permissions):
    client = sign_in(*permissions)

    assert client.get(f"{LIST}{authorized.pk}/{operation}/").status_code == 403
    assert send(client, authorized, operation, **FORMS[operation]).status_code == 403
    assert made(authorized) == []


@pytest.mark.parametrize(("operation", "other"), [("capture", "void"), ("void", "capture")])
def test_one_permission_is_not_the_other(authorized, operation, other):
    client = sign_in("view_transaction", f"{other}_transaction", f"{operation}_transaction")
    narrow = sign_in("view_transaction", f"{other}_transaction")

    assert f"{operation.capitalize()}…" in page(client, authorized)
    assert f"{operation.capitalize()}…" not in page(narrow, authorized)
    assert send(narrow, authorized, operation, **FORMS[operation]).status_code == 403


@pytest.mark.parametrize("operation", FORMS)
def test_an_operation_needs_the_token_of_a_page(authorized, operation):
    careless = sign_in(superuser=True, enforce_csrf_checks=True)

    assert send(careless, authorized, operation, **FORMS[operation]).status_code == 403
    assert made(authorized) == []


@pytest.mark.parametrize(
    ("operation", "wrong", "text"),
    [
        ("capture", {"amount": "1001"}, "1000 is left to capture"),
        ("capture", {"amount": "0"}, "greater than or equal to 1"),
        ("capture", {"amount": "12.50"}, "Enter a whole number"),
        ("capture", {"amount": ""}, "This field is required"),
        ("capture", {"amount": 400, "key": ""}, "Open this form again"),
        ("void", {"key": "mine"}, "Open this form again"),
        ("void", {"reason": "x" * 1001}, "length &lt;= 1000"),
        ("void", {"reason": "card 4111 1111 1111 1111"}, "Card numbers are not allowed"),
        ("void", {"reason": "a\0b"}, "Null characters are not allowed"),
    ],
)
def test_a_wrong_form_is_shown_again_and_nothing_moves(finance, authorized, operation, wrong, text):
    answer = send(finance, authorized, operation, **wrong)

    assert answer.status_code == 200
    assert text in answer.text
    assert made(authorized) == []


@pytest.mark.parametrize("operation", FORMS)
@pytest.mark.parametrize("status", ["succeeded", "declined", "failed"])
def test_a_payment_that_is_not_authorized_holds_nothing(finance, merchant, operation, status):
    payment = make_payment(merchant, status=status)

    assert f"{operation.capitalize()}…" not in page(finance, payment)
    form = finance.get(f"{LIST}{payment.pk}/{operation}/", follow=True)
    assert f"Nothing is left to {operation}" in form.text
    assert f"A transaction that is {status} cannot be" in send(finance, payment, operation, **FORMS[operation]).text
    assert made(payment) == []


@pytest.mark.parametrize("operation", FORMS)
def test_an_unknown_payment_is_a_404(finance, operation):
    missing = Transaction(id=UUID(int=0))

    assert send(finance, missing, operation, **FORMS[operation]).status_code == 404


def test_a_form_that_was_used_cannot_capture_another_amount(finance, authorized):
    key = str(uuid4())
    send(finance, authorized, "capture", key=key, amount=400)
    answer = send(finance, authorized, "capture", key=key, amount=500)

    assert "used before with another body: amount differs" in answer.text
    assert made(authorized) == [("capture", 400, "succeeded")]


def test_a_capture_that_the_gateway_refuses_is_reported(finance, shop, gateway):
    payment = Transaction.objects.get(id=shop.pay(2000, capture=False).body.id)

    answer = send(finance, payment, "capture", amount=902)

    assert "The capture of 9.02 EUR failed: The bank declined without a reason." in answer.text
    assert made(payment) == [("capture", 902, "failed")]
    check_books(gateway, shop.merchant)


# --- Successes ---------------------------------------------------------------------------------------------


def test_the_form_offers_all_that_is_left_and_a_key_of_its_own(finance, authorized):
    pages = [finance.get(f"{LIST}{authorized.pk}/capture/").text for _ in range(2)]

    assert 'value="1000"' in pages[0]
    assert "10.00 EUR, the full remaining amount" in pages[0]
    assert len({key for text in pages for key in re.findall(r'name="key" value="([0-9a-f-]{36})"', text)}) == 2


def test_parts_are_captured_and_the_journal_says_by_whom(finance, authorized, shop, gateway):
    first = send(finance, authorized, "capture", amount=400)
    second = send(finance, authorized, "capture", amount=100, final="on")

    assert "Captured 4.00 EUR." in first.text
    assert "Captured 1.00 EUR." in second.text
    assert made(authorized) == [("capture", 400, "succeeded"), ("capture", 100, "succeeded")]
    authorized.refresh_from_db()
    assert (authorized.status, authorized.amount_captured) == ("succeeded", 500)
    author = f"admin:{first.wsgi_request.user.username}"
    actors = Event.objects.filter(transaction=authorized).exclude(capture_id=None).values_list("actor", flat=True)
    assert set(actors) == {author}
    check_books(gateway, shop.merchant)


def test_a_void_releases_the_rest_and_the_journal_says_by_whom(finance, authorized, shop, gateway):
    send(finance, authorized, "capture", amount=400)
    answer = send(finance, authorized, "void", reason="out of stock")

    assert "Released 6.00 EUR." in answer.text
    assert made(authorized) == [("capture", 400, "succeeded"), ("void", 600, "succeeded")]
    void = Void.objects.get(transaction=authorized)
    assert void.reason == "out of stock"
    actors = Event.objects.filter(void_id=void.pk).values_list("kind", "actor")
    author = f"admin:{answer.wsgi_request.user.username}"
    assert list(actors) == [("void_processing", author), ("void_succeeded", author)]
    assert "Void…" not in page(finance, authorized)
    check_books(gateway, shop.merchant)


def test_captured_parts_can_be_refunded_while_the_rest_is_held(finance, authorized, shop, gateway):
    send(finance, authorized, "capture", amount=400)

    assert "401" not in finance.get(f"{LIST}{authorized.pk}/refund/").text
    over = send(finance, authorized, "refund", amount=401)
    assert "400 is left to refund" in over.text
    assert "Refunded 4.00 EUR." in send(finance, authorized, "refund", amount=400).text
    check_books(gateway, shop.merchant)


@pytest.mark.parametrize("operation", FORMS)
def test_a_form_sent_again_operates_once(finance, authorized, operation):
    form = {"key": str(uuid4()), **FORMS[operation]}
    send(finance, authorized, operation, **form)
    again = send(finance, authorized, operation, **form)

    assert f"This {operation} of" in again.text
    assert "exists already: it is succeeded" in again.text
    assert len(made(authorized)) == 1


def test_a_double_click_captures_once(authorized, shop, gateway):
    """The gateway takes a second (magic amount), so all three are in hand together or find the stored outcome."""
    payment = Transaction.objects.get(id=shop.pay(2000, capture=False).body.id)
    client = sign_in(superuser=True)
    form = {"key": str(uuid4()), "amount": 931}
    answers = click_three_times(client, lambda mine: send(mine, payment, "capture", **form).text)

    assert sum("Captured 9.31 EUR." in answer for answer in answers) == 1
    assert sum("already in progress" in text or "exists already" in text for text in answers) == 2
    assert made(payment) == [("capture", 931, "succeeded")]


def test_a_capture_without_an_answer_is_left_to_the_resolver(finance, shop, gateway):
    payment = Transaction.objects.get(id=shop.pay(2000, capture=False).body.id)

    answer = send(finance, payment, "capture", amount=922)

    assert "not known yet; the resolver settles it" in answer.text
    assert "Waiting for the outcome" in answer.text
    (capture,) = Capture.objects.filter(transaction=payment)
    root = sign_in(superuser=True)
    assert "will handle 1" in root.post(f"{LIST}{payment.pk}/resolve/", follow=True).text
    assert Unresolved.objects.filter(resource_id=capture.pk, lease_until__lte=Now()).exists()
    lease = resolution.acquire_lease(capture.pk, actor="resolver")
    assert lease is not None
    assert resolve_one(lease) == "approved"
    capture.refresh_from_db()
    assert capture.status == "succeeded"
    check_books(gateway, shop.merchant)
