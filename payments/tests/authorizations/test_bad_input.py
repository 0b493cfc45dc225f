"""Refusals of captures and voids: precise, and nothing is stored."""

import secrets
from uuid import UUID

import pytest

from payments.models import Capture, IdempotencyKey, Transaction, Void

pytestmark = pytest.mark.processes

PATH = "/v1/transactions"
BAD_CAPTURES = [
    ({"amount": 0}, "invalid_value", "amount"),
    ({"amount": -1}, "invalid_value", "amount"),
    ({"amount": "5"}, "invalid_value", "amount"),
    ({"amount": 1.5}, "invalid_value", "amount"),
    ({"amount": True}, "invalid_value", "amount"),
    ({"amount": 10**13}, "invalid_value", "amount"),
    ({"amount": 1001}, "amount_exceeds_remaining", "amount"),
    ({"final": "no"}, "invalid_value", "final"),
    ({"final": 0}, "invalid_value", "final"),
    ({"final": None}, "invalid_value", "final"),
    ({"amout": 5}, "unknown_field", "amout"),
    ([], "invalid_value", "body"),
]
BAD_VOIDS = [
    ({"amount": 5}, "unknown_field", "amount"),
    ({"reason": 5}, "invalid_value", "reason"),
    ({"reason": "x" * 1001}, "invalid_value", "reason"),
    ({"reason": "4111 1111 1111 1111"}, "card_number", "reason"),
    ("text", "invalid_value", "body"),
]


def stored(client) -> tuple[int, int, int]:
    """Return how many captures, voids and keys of them are stored."""
    return (
        Capture.objects.filter(transaction__merchant=client.merchant).count(),
        Void.objects.filter(transaction__merchant=client.merchant).count(),
        IdempotencyKey.objects.filter(merchant_id=client.merchant.pk, kind__in=("capture", "void")).count(),
    )


@pytest.mark.parametrize(
    ("operation", "case"),
    [("captures", case) for case in BAD_CAPTURES] + [("void", case) for case in BAD_VOIDS],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(client, holder, operation, case):
    body, code, param = case
    payment = holder.authorize(1000)

    reply = client.post(f"{PATH}/{payment}/{operation}", body, key=secrets.token_hex(12))

    assert (reply.status, reply.body["code"], reply.body["param"]) == (422, code, param), reply.body
    assert stored(client) == (0, 0, 0)
    assert holder.amounts(payment) == ("authorized", 1000, 0, 0)


@pytest.mark.parametrize("value", ["false", 0, None, []])
def test_capture_of_a_payment_is_true_or_false(client, value):
    reply = client.pay(1000, capture=value)

    assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "invalid_value", "capture")
    assert not Transaction.objects.filter(merchant=client.merchant).exists()


@pytest.mark.parametrize("operation", ["captures", "void"])
def test_a_request_without_a_key_is_refused(client, holder, operation):
    reply = client.post(f"{PATH}/{holder.authorize(1000)}/{operation}", {})

    assert (reply.status, reply.body["code"]) == (400, "missing_idempotency_key")
    assert stored(client) == (0, 0, 0)


@pytest.mark.parametrize("operation", ["captures", "void"])
@pytest.mark.parametrize("identifier", [str(UUID(int=0)), "x", "%00"])
def test_a_payment_that_does_not_exist_is_not_found(client, operation, identifier):
    reply = client.post(f"{PATH}/{identifier}/{operation}", {}, key="k")

    assert (reply.status, reply.body["code"]) == (404, "not_found")
    assert stored(client) == (0, 0, 0)


def test_the_payment_of_another_merchant_is_not_found(holder, make_client):
    payment, other = holder.authorize(1000), make_client()

    for operation in ("captures", "void"):
        assert other.post(f"{PATH}/{payment}/{operation}", {}, key="k").status == 404
    assert other.get(f"{PATH}/{payment}/events").status == 404
    assert other.get(f"{PATH}/{payment}/captures").status == 404
    assert holder.amounts(payment) == ("authorized", 1000, 0, 0)


@pytest.mark.parametrize(("amount", "fields"), [(1000, {}), (1901, {"capture": False}), (1911, {})])
@pytest.mark.parametrize("operation", ["captures", "void"])
def test_a_payment_that_holds_nothing_is_refused(client, amount, fields, operation):
    payment = client.pay(amount, **fields).body

    reply = client.post(f"{PATH}/{payment['id']}/{operation}", {}, key="k")

    assert (reply.status, reply.body["code"]) == (409, "not_authorized")
    assert payment["status"] in reply.body["detail"]
    assert stored(client) == (0, 0, 0)


def test_a_key_belongs_to_one_request(client, holder):
    payment, other = holder.authorize(1000), holder.authorize(1000)
    assert holder.capture(payment, 100, final=False, key="k").status == 201

    for reply, param in (
        (holder.capture(payment, 101, final=False, key="k"), "amount"),
        (holder.capture(payment, 100, key="k"), "final"),
        (holder.capture(other, 100, final=False, key="k"), "transaction"),
        (holder.void(payment, key="k"), "Idempotency-Key"),
        (client.refund(payment, 100, key="k"), "Idempotency-Key"),
        (client.pay(1000, key="k"), "Idempotency-Key"),
    ):
        assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "idempotency_key_reused", param)
    assert holder.amounts(payment) == ("authorized", 1000, 100, 0)


def test_the_same_payment_to_be_captured_is_another_body(client):
    client.pay(1000, key="k", capture=False)

    reply = client.pay(1000, key="k")

    assert (reply.status, reply.body["param"]) == (422, "capture")
