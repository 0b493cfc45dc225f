"""Up to 1,000 payments in one request, each with its own key and its own result, in the same order."""

from collections import Counter
from typing import Any

import pytest

from payments.models import IdempotencyKey, Transaction

pytestmark = pytest.mark.processes

PATH = "/v1/transactions/batch"


def item(key: str, amount: object = 1250, **fields: Any) -> dict[str, Any]:
    return {"idempotency_key": key, "amount": amount, "currency": "EUR", **fields}


def post(client, items: object) -> list[dict[str, Any]]:
    reply = client.post(PATH, {"items": items})
    assert reply.status == 200, reply.body
    return reply.body["results"]


def codes(results: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(result["status_code"], result["body"].get("code") or result["body"]["status"]) for result in results]


def test_each_item_has_its_own_result_in_the_same_order(client):
    results = post(
        client,
        [
            item("a"),
            item("b", 1901),
            item("c", 0),
            item("d", currency="ABC"),
            {"amount": 1250, "currency": "EUR"},
            item("two words"),
            item("line\n"),
            item("e", 1911),
            item("f", payment_method={"type": "card", "token": "tok_fraud"}),
            item("g", description="4111 1111 1111 1111"),
            item("4111111111111111"),
            "h",
            None,
            item("i", colour="red"),
            item("j", 1250.0),
            item("k"),
        ],
    )

    assert codes(results) == [
        (201, "succeeded"),
        (201, "declined"),
        (422, "invalid_value"),
        (422, "unknown_currency"),
        (400, "missing_idempotency_key"),
        (400, "invalid_idempotency_key"),
        (400, "invalid_idempotency_key"),
        (201, "failed"),
        (201, "blocked"),
        (422, "card_number"),
        (422, "card_number"),
        (422, "invalid_value"),
        (422, "invalid_value"),
        (422, "unknown_field"),
        (422, "invalid_value"),
        (201, "succeeded"),
    ]
    assert Transaction.objects.filter(merchant=client.merchant).count() == 5
    assert IdempotencyKey.objects.filter(merchant_id=client.merchant.pk).count() == 5


def test_one_item_is_a_batch(client):
    (result,) = post(client, [item("a")])

    assert result["status_code"] == 201
    assert client.get(f"/v1/transactions/{result['body']['id']}").body == result["body"]


def test_a_thousand_items_are_a_batch_and_its_replay_charges_nothing(client, gateway):
    items = [item(f"key-{number}", 10_000 + number % 900) for number in range(1000)]
    charges = gateway.totals().get("EUR", {}).get("charges", 0)

    first, again = post(client, items), post(client, items)

    assert Counter(result["status_code"] for result in first) == {201: 1000}
    assert Counter(result["status_code"] for result in again) == {200: 1000}
    assert [result["body"] for result in again] == [result["body"] for result in first]
    assert [result["body"]["amount"] for result in first] == [item["amount"] for item in items]
    assert gateway.totals()["EUR"]["charges"] == charges + 1000


def test_the_first_of_two_items_with_one_key_wins(client):
    results = post(client, [item("a", 100), item("a", 100), item("a", 200), item("b", 100)])

    assert codes(results) == [
        (201, "succeeded"),
        (200, "succeeded"),
        (422, "idempotency_key_reused"),
        (201, "succeeded"),
    ]
    assert results[0]["body"] == results[1]["body"]
    assert results[2]["body"]["param"] == "amount"
    assert Transaction.objects.filter(merchant=client.merchant).count() == 2


def test_the_first_of_many_items_with_one_key_wins(client):
    items = [item(f"key-{number % 7}", 10_000 + number) for number in range(300)]

    results = post(client, items)

    assert [result["status_code"] for result in results[:7]] == [201] * 7
    assert Counter(codes(results)) == {(201, "succeeded"): 7, (422, "idempotency_key_reused"): 293}


def test_batches_and_single_payments_share_their_keys(client):
    single = client.pay(key="a")
    refund = client.refund(single.body["id"], 1, key="b")
    assert refund.status == 201

    results = post(client, [item("a", customer="c_1"), item("b"), item("c", customer="c_1")])

    assert codes(results)[:2] == [(200, "succeeded"), (422, "idempotency_key_reused")]
    assert results[0]["body"]["id"] == single.body["id"]
    assert client.pay(key="c").body == results[2]["body"]


def test_a_key_that_is_a_clock_is_a_key_in_a_batch_too(client):
    # One in ten of these passes the check of a card number.
    results = post(client, [item(str(number)) for number in range(1769699379120, 1769699379140)])

    assert {result["status_code"] for result in results} == {201}


def test_an_item_whose_outcome_is_unknown_is_a_202(client):
    results = post(client, [item("a", 1922), item("b")])

    assert codes(results) == [(202, "unknown"), (201, "succeeded")]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"items": []}, 422, "invalid_value"),
        ({"items": [item(str(number)) for number in range(1001)]}, 422, "invalid_value"),
        ({"items": {}}, 422, "invalid_value"),
        ({"items": None}, 422, "invalid_value"),
        ({"items": "a"}, 422, "invalid_value"),
        ({}, 422, "invalid_value"),
        ({"items": [item("a")], "colour": "red"}, 422, "invalid_value"),
        ([item("a")], 422, "invalid_value"),
        (item("a"), 422, "invalid_value"),
        (b"", 400, "invalid_json"),
        (b'{"items": [', 400, "invalid_json"),
        (b'{"items": [], "items": []}', 400, "invalid_json"),
        (b'{"items": ' + b"[" * 100_000, 400, "invalid_json"),
        (b'{"items": [' + b" " * 10_000_000 + b"]}", 413, "body_too_large"),
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(client, body, status, code):
    reply = client.post(PATH, body)

    assert (reply.status, reply.body["code"]) == (status, code)
    assert not Transaction.objects.filter(merchant=client.merchant).exists()
    assert not IdempotencyKey.objects.filter(merchant_id=client.merchant.pk).exists()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_batch_is_posted(client, method):
    reply = client.platform.request(method, PATH, api_key=client.api_key)

    assert (reply.status, reply.headers["Allow"]) == (405, "POST, OPTIONS")
