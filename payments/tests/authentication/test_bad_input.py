"""Return URLs over HTTP: what is refused stores nothing, and clients that send none see nothing new."""

import pytest

from payments.models import Merchant, Transaction
from payments.tests.authentication.conftest import BACK, CHALLENGED, EXEMPT, FRICTIONLESS

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://other.example/", "return_url_not_allowed"),
        ("https://sub.shop.example/", "return_url_not_allowed"),
        ("https://shop.example:8443/", "return_url_not_allowed"),
        ("https://shop.example.other.example/", "return_url_not_allowed"),
        ("http://shop.example/", "invalid_url"),
        ("javascript:alert(1)", "invalid_url"),
        ("//shop.example/", "invalid_url"),
        ("https://user@shop.example/", "invalid_url"),
        ("https://shop.example@other.example/", "invalid_url"),
        ("https://other.example\\@shop.example/", "invalid_url"),
        ("https://shop.example/#token", "invalid_url"),
        ("https://shop.example/a b", "invalid_url"),
        ("https://shop.example/\n", "invalid_url"),
        ("https://sh\u00f6p.example/", "invalid_url"),
        ("https://", "invalid_url"),
        ("https://shop.example:0/", "invalid_url"),
        ("https://shop.example:65536/", "invalid_url"),
        ("https://[::1]/", "invalid_url"),
        ("https://-shop.example/", "invalid_url"),
        ("https://shop.example/" + "a" * 2048, "invalid_value"),
        ("", "invalid_value"),
        (7, "invalid_value"),
        (["https://shop.example/"], "invalid_value"),
    ],
)
def test_a_return_url_that_is_unusable_or_not_listed_is_refused_and_nothing_is_stored(client, url, code):
    Merchant.objects.filter(pk=client.merchant.pk).update(return_hosts=["shop.example"])

    reply = client.pay(CHALLENGED, return_url=url)

    assert (reply.status, reply.body["code"], reply.body["param"]) == (422, code, "return_url"), reply.body
    assert not Transaction.objects.filter(merchant=client.merchant).exists()


@pytest.mark.parametrize("amount", [1250, FRICTIONLESS, EXEMPT])
def test_the_answer_to_a_payment_without_a_return_url_has_no_new_field(client, amount):
    body = client.pay(amount).body

    assert body["status"] == "succeeded"
    assert not {"next_action", "authentication", "return_url"} & body.keys()


def test_a_field_of_a_batch_item_is_checked_like_that_of_a_payment(client):
    item = {"amount": CHALLENGED, "currency": "EUR", "return_url": BACK}
    reply = client.post(
        "/v1/transactions/batch",
        {"items": [item | {"idempotency_key": "a"}, {"amount": 1250, "currency": "EUR", "idempotency_key": "b"}]},
    )

    first, second = reply.body["results"]
    assert (first["status_code"], first["body"]["code"]) == (422, "return_url_not_allowed")
    assert (second["status_code"], second["body"]["status"]) == (201, "succeeded")
