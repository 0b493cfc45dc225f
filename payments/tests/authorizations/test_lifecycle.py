"""Authorize, capture, void: over HTTP, to the ledger and the gateway's record."""

import secrets

import pytest

from payments.models import Authorization, Capture, LedgerLeg
from payments.tests.audit import audit

pytestmark = pytest.mark.processes


def booked(client) -> dict[str, int]:
    legs = LedgerLeg.objects.filter(transaction__merchant=client.merchant)
    totals: dict[str, int] = {}
    for leg in legs:
        totals[leg.account] = totals.get(leg.account, 0) + leg.amount
    return totals


def test_an_authorization_holds_money_and_books_nothing(client, holder, gateway):
    payment = holder.authorize(1000)

    assert holder.amounts(payment) == ("authorized", 1000, 0, 0)
    assert holder.read(payment)["settled_at"] is None
    assert holder.read(payment)["capture_before"] is not None
    assert booked(client) == {}
    assert holder.events(payment) == ["processing", "authorized"]
    assert client.get("/v1/transactions?status=authorized").body["data"][0]["id"] == payment
    audit(gateway, client.merchant)


def test_a_capture_of_all_completes_the_payment_and_books_it(client, holder, gateway):
    payment = holder.authorize(1000)

    reply = holder.capture(payment)

    assert reply.status == 201, reply.body
    assert (reply.body["status"], reply.body["amount"], reply.body["final"]) == ("succeeded", 1000, True)
    assert holder.amounts(payment) == ("succeeded", 1000, 1000, 0)
    assert booked(client) == {"gateway_clearing": 1000, "merchant_payable": -985, "fees": -15}
    assert holder.events(payment) == [
        "processing",
        "authorized",
        "capture_processing",
        "capture_succeeded",
        "succeeded",
    ]
    assert not Authorization.objects.filter(transaction_id=payment).exists()
    assert client.get("/v1/transactions?status=authorized").body["data"] == []
    audit(gateway, client.merchant)


def test_the_rest_is_released_after_the_final_of_several_captures(client, holder, gateway):
    payment = holder.authorize(1000)

    first = holder.capture(payment, 333, final=False)
    assert holder.amounts(payment) == ("authorized", 1000, 333, 0)
    second = holder.capture(payment, 334, final=True)

    assert (first.status, second.status) == (201, 201)
    assert holder.amounts(payment) == ("succeeded", 1000, 667, 0)
    assert booked(client) == {"gateway_clearing": 667, "merchant_payable": -657, "fees": -10}
    assert holder.capture(payment, 1).body["code"] == "not_authorized"
    listed = client.get(f"/v1/transactions/{payment}/captures").body["data"]
    assert [capture["amount"] for capture in listed] == [334, 333]
    audit(gateway, client.merchant)


def test_parts_that_take_everything_complete_the_payment(client, holder, gateway):
    payment = holder.authorize(1000)

    for amount in (400, 600):
        assert holder.capture(payment, amount, final=False).status == 201

    assert holder.amounts(payment) == ("succeeded", 1000, 1000, 0)
    audit(gateway, client.merchant)


def test_a_void_releases_everything_and_books_nothing(client, holder, gateway):
    payment = holder.authorize(1000)

    reply = holder.void(payment, reason="out of stock")

    assert reply.status == 201, reply.body
    assert (reply.body["status"], reply.body["amount"], reply.body["reason"]) == ("succeeded", 1000, "out of stock")
    assert holder.amounts(payment) == ("voided", 1000, 0, 0)
    assert holder.read(payment)["settled_at"] is not None
    assert booked(client) == {}
    assert holder.events(payment) == ["processing", "authorized", "void_processing", "void_succeeded", "voided"]
    audit(gateway, client.merchant)


def test_a_void_after_a_capture_releases_the_rest(client, holder, gateway):
    payment = holder.authorize(1000)
    holder.capture(payment, 400, final=False)

    assert holder.void(payment).body["amount"] == 600

    assert holder.amounts(payment) == ("succeeded", 1000, 400, 0)
    audit(gateway, client.merchant)


def test_refunds_are_bounded_by_what_was_captured(client, holder, gateway):
    payment = holder.authorize(1000)
    assert client.refund(payment).body["code"] == "not_refundable"
    holder.capture(payment, 400, final=False)

    over = client.refund(payment, 401)
    assert (over.status, over.body["code"]) == (422, "amount_exceeds_remaining")
    assert client.refund(payment, 150).status == 201
    holder.capture(payment, 100)

    assert client.refund(payment).body["amount"] == 350
    assert holder.amounts(payment) == ("succeeded", 1000, 500, 500)
    audit(gateway, client.merchant)


@pytest.mark.parametrize("operation", ["capture", "void"])
def test_a_key_used_again_gives_the_stored_answer(client, holder, gateway, operation):
    payment, key = holder.authorize(1000), secrets.token_hex(8)
    run = getattr(holder, operation)

    first, again = run(payment, key=key), run(payment, key=key)

    assert (first.status, again.status) == (201, 200)
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"
    audit(gateway, client.merchant)


@pytest.mark.parametrize(("amount", "status"), [(1901, "declined"), (1911, "failed")])
def test_an_authorization_that_the_bank_refuses_is_final(client, holder, gateway, amount, status):
    reply = client.pay(amount, capture=False)

    assert (reply.status, reply.body["status"]) == (201, status)
    assert reply.body["amount_authorized"] == 0
    assert holder.capture(reply.body["id"]).body["code"] == "not_authorized"
    audit(gateway, client.merchant)


def test_a_capture_that_the_gateway_refuses_can_be_tried_again(client, holder, gateway):
    payment = holder.authorize(5000)

    refused = holder.capture(payment, 1901)

    assert (refused.status, refused.body["status"]) == (201, "failed")
    assert refused.body["failure"]["code"] == "insufficient_funds"
    assert holder.amounts(payment) == ("authorized", 5000, 0, 0)
    assert holder.capture(payment).body["amount"] == 5000
    assert Capture.objects.filter(transaction_id=payment).count() == 2
    audit(gateway, client.merchant)


def test_items_of_a_batch_can_be_authorized(client, holder, gateway):
    items = [
        {"amount": 500, "currency": "EUR", "capture": capture, "idempotency_key": str(capture)}
        for capture in (True, False)
    ]

    results = client.post("/v1/transactions/batch", {"items": items}).body["results"]

    assert [result["body"]["status"] for result in results] == ["succeeded", "authorized"]
    assert holder.capture(results[1]["body"]["id"]).status == 201
    audit(gateway, client.merchant)
