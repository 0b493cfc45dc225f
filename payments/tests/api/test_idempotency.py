"""One key, one payment: every answer that a repeated request can get."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fintech.testing.processes import wait_until
from payments.models import IdempotencyKey, Transaction
from payments.tests.consistency import gateway_key

pytestmark = pytest.mark.processes

PATH = "/v1/transactions"
FULL: dict[str, Any] = {
    "amount": 1250,
    "currency": "EUR",
    "customer": "c_42",
    "description": "Two books",
    "reference": "order-7",
    "payment_method": {"type": "card", "token": "tok_visa", "country": "DE"},
    "metadata": {"basket": "9", "shop": "north"},
}
# Another value for each field, and absent where that is possible.
CHANGES = [
    ("amount", 1251),
    ("currency", "USD"),
    ("customer", "c_43"),
    ("customer", None),
    ("description", "Two book"),
    ("description", None),
    ("reference", "order-8"),
    ("reference", None),
    ("payment_method", {"type": "card", "token": "tok_visa", "country": "FR"}),
    ("payment_method", {"type": "card", "token": "tok_visa"}),
    ("payment_method", None),
    ("metadata", {"basket": "9"}),
    ("metadata", {"basket": "9", "shop": "North"}),
    ("metadata", {}),
    ("metadata", None),
]


def test_a_replay_gives_the_stored_answer_and_says_so(client, gateway):
    first, again = (client.post(PATH, FULL, key="order-7") for _ in range(2))

    assert first.status == 201
    assert "Idempotency-Replayed" not in first.headers
    assert first.headers["Location"] == f"{PATH}/{first.body['id']}"
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Transaction.objects.filter(merchant=client.merchant).count() == 1
    assert [record["key"] for record in gateway.records()].count(gateway_key(first.body["id"])) == 1


@pytest.mark.parametrize(("amount", "status"), [(1901, "declined"), (1911, "failed")])
def test_a_decline_and_a_failure_are_replayed_too(client, amount, status):
    first, again = (client.pay(amount, key="order-7") for _ in range(2))

    assert (first.status, first.body["status"]) == (201, status)
    assert (again.status, again.body) == (200, first.body)


def test_a_blocked_payment_is_replayed_too(client):
    method = {"type": "card", "token": "tok_fraud"}
    first, again = (client.pay(payment_method=method, key="order-7") for _ in range(2))

    assert (first.status, first.body["status"]) == (201, "blocked")
    assert (again.status, again.body) == (200, first.body)


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_another_body_is_refused_and_the_field_is_named(client, name, value):
    first = client.post(PATH, FULL, key="order-7")
    changed = {**FULL, name: value}

    for body in (changed, {key: value for key, value in changed.items() if value is not None}):
        reply = client.post(PATH, body, key="order-7")

        assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "idempotency_key_reused", name)
    assert client.get(f"{PATH}/{first.body['id']}").body == first.body
    assert Transaction.objects.filter(merchant=client.merchant).count() == 1


def test_the_same_content_in_another_spelling_is_a_replay(client):
    first = client.post(PATH, {**FULL, "description": "Zwei Bücher"}, key="order-7")
    content = {**FULL, "description": "Zwei Bücher"}
    spelled = json.dumps(dict(reversed(content.items())), indent=4, ensure_ascii=False).encode()

    assert client.post(PATH, spelled, key="order-7").body == first.body


def test_absent_null_and_empty_metadata_are_the_same(client):
    plain = {"amount": 1250, "currency": "EUR"}
    bodies = [plain, {**plain, "metadata": None, "customer": None}, {**plain, "metadata": {}}]

    assert [client.post(PATH, body, key="order-7").status for body in bodies] == [201, 200, 200]


def test_the_short_name_is_the_same_endpoint(client):
    first = client.post("/transaction", FULL, key="order-7")

    assert first.status == 201
    assert client.post(PATH, FULL, key="order-7").body == first.body


def test_merchants_do_not_share_keys(client, other_client):
    first, other = client.pay(key="order-7"), other_client.pay(key="order-7")

    assert first.status == other.status == 201
    assert first.body["id"] != other.body["id"]


def test_a_payments_key_cannot_refund(client):
    payment = client.pay(key="order-7").body["id"]

    reply = client.refund(payment, key="order-7")

    assert (reply.status, reply.body["code"]) == (422, "idempotency_key_reused")
    assert reply.body["param"] == "Idempotency-Key"
    assert client.get(f"{PATH}/{payment}/refunds").body["data"] == []


def test_a_refunds_key_cannot_pay(client):
    client.refund(client.pay().body["id"], key="refund-7")

    reply = client.pay(key="refund-7")

    assert (reply.status, reply.body["code"]) == (422, "idempotency_key_reused")
    assert reply.body["param"] == "Idempotency-Key"
    assert Transaction.objects.filter(merchant=client.merchant).count() == 1


def test_a_second_request_is_asked_to_retry_while_the_first_runs(client, gateway):
    gateway.profile(latency_ms=1500)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.pay, key="order-7")
        wait_until(IdempotencyKey.objects.filter(merchant_id=client.merchant.pk).exists, what="it is stored")
        held = client.pay(key="order-7")
        other = client.pay(1251, key="order-7")

    assert (held.status, held.body["code"]) == (409, "request_in_flight")
    assert 1 <= int(held.headers["Retry-After"]) <= 8
    assert (other.status, other.body["param"]) == (422, "amount")
    assert (first.result().status, first.result().body["status"]) == (201, "succeeded")
    assert client.pay(key="order-7").status == 200


def test_a_refund_that_is_held_is_a_409_too(client, gateway):
    payment = client.pay().body["id"]
    gateway.profile(latency_ms=1500)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.refund, payment, key="refund-7")
        keys = IdempotencyKey.objects.filter(merchant_id=client.merchant.pk, key="refund-7")
        wait_until(keys.exists, what="it is stored")
        held = client.refund(payment, key="refund-7")

    assert (held.status, held.body["code"]) == (409, "request_in_flight")
    assert 1 <= int(held.headers["Retry-After"]) <= 8
    assert first.result().status == 201


def test_an_unknown_outcome_is_a_202_also_when_it_is_replayed(client, gateway):
    gateway.profile(cancel_fails=True)
    first, again = (client.pay(1922, key="order-7") for _ in range(2))

    assert (first.status, first.body["status"], first.body["settled_at"]) == (202, "unknown", None)
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    for reply in (first, again):
        assert reply.headers["Location"] == f"{PATH}/{first.body['id']}"
        assert int(reply.headers["Retry-After"]) > 0

    gateway.profile(cancel_fails=False)
    wait_until(lambda: client.pay(1922, key="order-7").status == 200, what="it is settled")
    assert client.pay(1922, key="order-7").body["status"] == "succeeded"


@pytest.mark.parametrize("key", [None, ""])
def test_a_request_without_a_key_is_refused(client, key):
    reply = client.post(PATH, FULL, key=key)

    assert (reply.status, reply.body["code"]) == (400, "missing_idempotency_key")
    assert reply.body["param"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["two words", "k" * 256, "schlüssel", "tab\tbed"])
def test_a_key_that_is_none_is_refused(client, key):
    reply = client.post(PATH, FULL, key=key.encode())

    assert (reply.status, reply.body["code"]) == (400, "invalid_idempotency_key")
    assert not IdempotencyKey.objects.filter(merchant_id=client.merchant.pk).exists()


@pytest.mark.parametrize("key", ["4111111111111111", "order-4111-1111-1111-1111", "1:4111111111111111"])
def test_a_card_number_is_no_key(client, key):
    reply = client.post(PATH, FULL, key=key)

    assert (reply.status, reply.body["code"]) == (422, "card_number")
    assert not IdempotencyKey.objects.filter(merchant_id=client.merchant.pk).exists()


@pytest.mark.parametrize("key", ["k" * 255, "!~", "1769699379124", "order-1769699379124", "a,b"])
def test_unusual_keys_are_keys(client, key):
    assert [client.post(PATH, FULL, key=key).status for _ in range(2)] == [201, 200]
