"""Giving back: in parts, repeatedly, never more than was paid, and only what was paid."""

from uuid import UUID

import pytest

from fintech.testing.processes import wait_until
from payments.models import IdempotencyKey, LedgerLeg, Refund

pytestmark = pytest.mark.processes

PATH = "/v1/transactions"


def stored(client):
    keys = IdempotencyKey.objects.filter(merchant_id=client.merchant.pk, kind="refund").count()
    return Refund.objects.filter(transaction__merchant=client.merchant).count(), keys


def test_a_part_is_refunded_and_booked(client, gateway):
    payment = client.pay(1250).body["id"]

    reply = client.refund(payment, 400)

    assert reply.status == 201, reply.body
    refund = reply.body
    assert (refund["status"], refund["amount"], refund["currency"]) == ("succeeded", 400, "EUR")
    assert refund["transaction"] == payment
    assert reply.headers["Location"] == f"{PATH}/{payment}/refunds"
    assert client.get(f"{PATH}/{payment}").body["amount_refunded"] == 400
    assert gateway.refund(str(Refund.objects.get(id=refund["id"]).gateway_key))["outcome"] == "approved"
    legs = LedgerLeg.objects.filter(event__refund_id=refund["id"])
    assert {leg.account: leg.amount for leg in legs} == {"refunds": 400, "gateway_clearing": -400}


def test_parts_until_nothing_is_left(client):
    payment = client.pay(1250).body["id"]

    amounts = [client.refund(payment, amount).body["amount"] for amount in (400, 300, None)]

    assert amounts == [400, 300, 550]
    shown = client.get(f"{PATH}/{payment}").body
    assert (shown["amount_refunded"], shown["status"]) == (1250, "succeeded")
    listed = client.get(f"{PATH}/{payment}/refunds").body
    assert [refund["amount"] for refund in listed["data"]] == amounts[::-1]
    assert listed["next"] is None


@pytest.mark.parametrize("amount", [1, None])
def test_when_nothing_is_left_it_is_refused(client, amount):
    payment = client.pay(1250).body["id"]
    client.refund(payment)

    reply = client.refund(payment, amount)

    assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "amount_exceeds_remaining", "amount")
    assert stored(client) == (1, 1)


def test_more_than_the_rest_is_refused_and_keeps_the_key_usable(client):
    payment = client.pay(1250).body["id"]
    client.refund(payment, 1000)

    reply = client.refund(payment, 251, key="refund-2")

    assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "amount_exceeds_remaining", "amount")
    assert reply.body["detail"].startswith("250 is left")
    assert stored(client) == (1, 1)
    assert client.refund(payment, 250, key="refund-2").status == 201


@pytest.mark.parametrize(
    ("amount", "fields"), [(1901, {}), (1911, {}), (1250, {"payment_method": {"type": "card", "token": "tok_fraud"}})]
)
def test_a_failed_payment_cannot_be_refunded(client, amount, fields):
    payment = client.pay(amount, **fields).body

    reply = client.refund(payment["id"])

    assert (reply.status, reply.body["code"]) == (409, "not_refundable")
    assert payment["status"] in reply.body["detail"]
    assert stored(client) == (0, 0)


def test_a_payment_of_unknown_outcome_cannot_be_refunded(client, gateway):
    gateway.profile(cancel_fails=True)
    payment = client.pay(1922).body["id"]

    assert client.refund(payment).body["code"] == "not_refundable"
    assert stored(client) == (0, 0)


def test_a_replay_gives_the_stored_answer(client, gateway):
    payment = client.pay(1250).body["id"]
    first, again = (client.refund(payment, 400, key="refund-1") for _ in range(2))

    assert (again.status, again.body) == (200, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert stored(client) == (1, 1)
    assert client.get(f"{PATH}/{payment}").body["amount_refunded"] == 400


def test_a_replay_of_all_that_was_left_is_a_replay(client):
    payment = client.pay(1250).body["id"]

    assert [client.refund(payment, key="refund-1").status for _ in range(2)] == [201, 200]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"amount": 401, "reason": "returned"}, "amount"),
        ({"reason": "returned"}, "amount"),
        ({"amount": 400, "reason": "broken"}, "reason"),
        ({"amount": 400}, "reason"),
    ],
)
def test_another_body_is_refused_and_the_field_is_named(client, body, name):
    path = f"{PATH}/{client.pay(1250).body['id']}/refunds"
    client.post(path, {"amount": 400, "reason": "returned"}, key="refund-1")

    reply = client.post(path, body, key="refund-1")

    assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "idempotency_key_reused", name)
    assert stored(client) == (1, 1)


def test_another_payment_is_another_request(client):
    first, second = (client.pay(1250).body["id"] for _ in range(2))
    client.refund(first, 400, key="refund-1")

    reply = client.refund(second, 400, key="refund-1")

    assert (reply.status, reply.body["param"]) == (422, "transaction")
    assert client.get(f"{PATH}/{second}").body["amount_refunded"] == 0


def test_a_declined_refund_gives_its_reservation_back(client):
    payment = client.pay(5000).body["id"]

    reply = client.refund(payment, 1901)

    assert (reply.status, reply.body["status"]) == (201, "failed")
    assert reply.body["failure"]["code"] == "insufficient_funds"
    assert client.get(f"{PATH}/{payment}").body["amount_refunded"] == 0
    assert client.refund(payment).body["amount"] == 5000


def test_a_refund_whose_reply_is_lost_is_unknown_and_then_settled(client, gateway):
    payment = client.pay(5000).body["id"]
    gateway.profile(cancel_fails=True)
    first, again = (client.refund(payment, 1922, key="refund-1") for _ in range(2))

    assert (first.status, first.body["status"]) == (202, "unknown")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert int(first.headers["Retry-After"]) > 0
    over = client.refund(payment, 5000 - 1922 + 1)
    assert over.body["code"] == "amount_exceeds_remaining", "what may have been refunded stays reserved"

    gateway.profile(cancel_fails=False)
    wait_until(lambda: client.refund(payment, 1922, key="refund-1").status == 200, what="it is settled")
    assert client.get(f"{PATH}/{payment}").body["amount_refunded"] == 1922


def test_a_refund_needs_no_body(client, exchange):
    payment = client.pay(1250).body["id"]
    head = f"POST {PATH}/{payment}/refunds HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.api_key}\r\n"

    assert exchange(f"{head}Idempotency-Key: refund-1\r\nContent-Length: 0\r\n\r\n".encode()).status == 201
    assert exchange(f"{head}Idempotency-Key: refund-1\r\n\r\n".encode()).status == 200


@pytest.mark.parametrize("identifier", [str(UUID(int=0)), "x", "019aab3c", "..%2f..", "%00", "%ff", "1" * 5000, "null"])
def test_a_payment_that_does_not_exist_has_no_refunds(client, identifier):
    for reply in (client.refund(identifier), client.get(f"{PATH}/{identifier}/refunds")):
        assert (reply.status, reply.body["code"]) == (404, "not_found")
