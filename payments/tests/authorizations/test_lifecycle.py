"""Authorize, capture, void: over HTTP, to the ledger and the gateway's record."""

import secrets
from itertools import chain
from urllib.parse import quote

import pytest

from payments.models import Authorization, Capture, LedgerLeg
from payments.tests.consistency import check_books

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
    check_books(gateway, client.merchant)


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
    check_books(gateway, client.merchant)


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
    check_books(gateway, client.merchant)


def test_parts_that_take_everything_complete_the_payment(client, holder, gateway):
    payment = holder.authorize(1000)

    for amount in (400, 600):
        assert holder.capture(payment, amount, final=False).status == 201

    assert holder.amounts(payment) == ("succeeded", 1000, 1000, 0)
    check_books(gateway, client.merchant)


def test_a_void_releases_everything_and_books_nothing(client, holder, gateway):
    payment = holder.authorize(1000)

    reply = holder.void(payment, reason="out of stock")

    assert reply.status == 201, reply.body
    assert (reply.body["status"], reply.body["amount"], reply.body["reason"]) == ("succeeded", 1000, "out of stock")
    assert holder.amounts(payment) == ("voided", 1000, 0, 0)
    assert holder.read(payment)["settled_at"] is not None
    assert booked(client) == {}
    assert holder.events(payment) == ["processing", "authorized", "void_processing", "void_succeeded", "voided"]
    check_books(gateway, client.merchant)


def test_a_void_after_a_capture_releases_the_rest(client, holder, gateway):
    payment = holder.authorize(1000)
    holder.capture(payment, 400, final=False)

    assert holder.void(payment).body["amount"] == 600

    assert holder.amounts(payment) == ("succeeded", 1000, 400, 0)
    check_books(gateway, client.merchant)


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
    check_books(gateway, client.merchant)


@pytest.mark.parametrize("operation", ["capture", "void"])
def test_a_key_used_again_gives_the_stored_answer(client, holder, gateway, operation):
    payment, key = holder.authorize(1000), secrets.token_hex(12)
    run = getattr(holder, operation)

    first, again = run(payment, key=key), run(payment, key=key)

    assert (first.status, again.status) == (201, 200)
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"
    check_books(gateway, client.merchant)


@pytest.mark.parametrize(("amount", "status"), [(1901, "declined"), (1911, "failed")])
def test_an_authorization_that_the_bank_refuses_is_final(client, holder, gateway, amount, status):
    reply = client.pay(amount, capture=False)

    assert (reply.status, reply.body["status"]) == (201, status)
    assert reply.body["amount_authorized"] == 0
    assert holder.capture(reply.body["id"]).body["code"] == "not_authorized"
    check_books(gateway, client.merchant)


def test_a_capture_that_the_gateway_refuses_can_be_tried_again(client, holder, gateway):
    payment = holder.authorize(5000)

    refused = holder.capture(payment, 1901)

    assert (refused.status, refused.body["status"]) == (201, "failed")
    assert refused.body["failure"]["code"] == "insufficient_funds"
    assert holder.amounts(payment) == ("authorized", 5000, 0, 0)
    assert holder.capture(payment).body["amount"] == 5000
    assert Capture.objects.filter(transaction_id=payment).count() == 2
    check_books(gateway, client.merchant)


def test_items_of_a_batch_can_be_authorized(client, holder, gateway):
    items = [
        {"amount": 500, "currency": "EUR", "capture": capture, "idempotency_key": str(capture)}
        for capture in (True, False)
    ]

    results = client.post("/v1/transactions/batch", {"items": items}).body["results"]

    assert [result["body"]["status"] for result in results] == ["succeeded", "authorized"]
    assert holder.capture(results[1]["body"]["id"]).status == 201
    check_books(gateway, client.merchant)


def listed(client, path: str) -> list[list[dict]]:
    """Return the pages of a list."""
    found = []
    while path:
        reply = client.get(path)
        assert reply.status == 200, reply.body
        found.append(reply.body["data"])
        path = reply.body["next"]
    return found


def test_captures_refunds_and_the_journal_have_pages(client, holder):
    payment = holder.authorize(1000)
    captures = [holder.capture(payment, amount, final=False).body for amount in (100, 200, 300)]
    refunds = [client.refund(payment, amount).body for amount in (10, 20, 30)]
    path = f"/v1/transactions/{payment}"

    assert listed(client, f"{path}/captures?limit=2") == [[captures[2], captures[1]], [captures[0]]]
    assert listed(client, f"{path}/refunds?limit=2") == [[refunds[2], refunds[1]], [refunds[0]]]
    (whole,) = listed(client, f"{path}/events?limit=200")
    assert [event["type"] for event in whole][:2] == ["processing", "authorized"]
    assert list(chain(*listed(client, f"{path}/events?limit=3"))) == whole


def test_a_payment_contains_the_lists_that_are_asked_for(client, holder):
    payment = holder.authorize(1000)
    captures = [holder.capture(payment, 10, final=False).body for _ in range(2)]
    refund = client.refund(payment, 5).body
    path = f"/v1/transactions/{payment}"
    plain = client.get(path).body

    assert "refunds" not in plain
    assert client.get(f"{path}?expand=refunds,captures").body == {
        **plain,
        "captures": {"data": captures[::-1], "next": None},
        "refunds": {"data": [refund], "next": None},
    }
    assert client.get(f"{path}?expand=refunds").body == {**plain, "refunds": {"data": [refund], "next": None}}


def test_an_expanded_list_leads_to_its_next_page(client, holder):
    payment = holder.authorize(1000)
    made = [holder.capture(payment, 1, final=False).body["id"] for _ in range(51)]

    first = client.get(f"/v1/transactions/{payment}?expand=captures").body["captures"]

    found = [first["data"], *listed(client, first["next"])]
    assert [[capture["id"] for capture in page] for page in found] == [made[:0:-1], made[:1]]


@pytest.mark.parametrize(
    "value", ["", "refund", "refunds,", "refunds, captures", "REFUNDS", "voids", "customer", "x" * 3000]
)
def test_an_unknown_list_is_not_expanded(client, holder, value):
    reply = client.get(f"/v1/transactions/{holder.authorize()}?expand={quote(value)}")

    assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "invalid_parameter", "expand")
    assert "refunds, captures" in reply.body["detail"]


@pytest.mark.parametrize("place", ["", "/captures", "/refunds", "/events"])
@pytest.mark.parametrize("query", ["colour=red", "status=succeeded", "limit=1&limit=2"])
def test_reading_a_payment_refuses_wrong_parameters(client, holder, place, query):
    reply = client.get(f"/v1/transactions/{holder.authorize()}{place}?{query}")

    assert (reply.status, reply.body["param"]) == (422, query.partition("=")[0]), reply.body


def test_a_cursor_is_refused_by_another_payments_list(client, holder):
    one, other = holder.authorize(), holder.authorize()
    for payment in (one, other):
        for _ in range(2):
            holder.capture(payment, 1, final=False)
    cursor = client.get(f"/v1/transactions/{one}/captures?limit=1").body["next"].rpartition("cursor=")[2]

    for place in (f"{other}/captures", f"{one}/refunds", f"{one}/events"):
        for text in (cursor, cursor[:-4], "AAAA"):
            assert client.get(f"/v1/transactions/{place}?cursor={text}").body["code"] == "invalid_cursor"


@pytest.mark.parametrize("place", ["?expand=refunds,captures", "/captures", "/refunds", "/events"])
def test_another_merchants_payment_has_no_lists(holder, make_client, place):
    assert make_client().get(f"/v1/transactions/{holder.authorize()}{place}").status == 404
