"""Pages of payments: newest first, each exactly once, and filtered by what the client knows."""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from payments.tests.conftest import Client

pytestmark = pytest.mark.processes

PATH = "/v1/transactions"


def ids(client: Client, **query: Any) -> list[str]:
    reply = client.get(f"{PATH}?{urlencode(query)}")
    assert reply.status == 200, reply.body
    return [payment["id"] for payment in reply.body["data"]]


def pages(client: Client, path: str) -> list[list[str]]:
    found = []
    while path:
        reply = client.get(path)
        assert reply.status == 200, reply.body
        found.append([payment["id"] for payment in reply.body["data"]])
        path = reply.body["next"]
    return found


def test_a_merchant_without_payments_has_an_empty_list(client):
    assert client.get(PATH).body == {"data": [], "next": None}


def test_pages_go_from_the_newest_to_the_oldest(client):
    made = [client.pay().body["id"] for _ in range(7)]

    found = pages(client, f"{PATH}?limit=3")

    assert [len(page) for page in found] == [3, 3, 1]
    assert list(chain(*found)) == made[::-1]


def altered(cursor: str) -> list[str]:
    """Every cursor that differs in one place, the reversed one, one with an end of its own, shorter and longer ones."""
    others = [
        cursor[:place] + ("B" if letter == "A" else "A") + cursor[place + 1 :] for place, letter in enumerate(cursor)
    ]
    return [*others, cursor + "=", cursor[::-1], cursor[:-1], cursor[:-4], cursor + "A", cursor[4:]]


def test_an_altered_cursor_is_refused(client):
    """It was answered with 200 and another page."""
    for _ in range(2):
        client.pay()
    address, _, cursor = client.get(f"{PATH}?limit=1").body["next"].rpartition("cursor=")
    replies = [client.get(f"{address}cursor={quote(other)}").body for other in altered(cursor)]

    assert {(reply["status"], reply["code"], reply["param"]) for reply in replies} == {
        (400, "invalid_cursor", "cursor")
    }
    assert client.get(f"{address}cursor={cursor}").status == 200


def test_a_cursor_without_a_code_is_refused(client):
    """As the first versions wrote them: anyone can make one."""
    assert client.get(f"{PATH}?cursor=AAAAAAAAAAAAAAAAAAAAAA").status == 400


@pytest.mark.parametrize("value", ["", "x", "A" * 21, "A" * 23, "A" * 5000, "é" * 22, "=" * 22, "A" * 21 + "\0"])
def test_a_text_that_no_list_wrote_is_no_cursor(client, value):
    """Some of these were answered with 422, depending on the place of the change."""
    reply = client.get(f"{PATH}?cursor={quote(value)}")

    assert (reply.status, reply.body["code"], reply.body["param"]) == (400, "invalid_cursor", "cursor")


def test_a_page_that_is_just_full_is_the_last(client):
    for _ in range(3):
        client.pay()

    assert client.get(f"{PATH}?limit=3").body["next"] is None


def test_new_payments_neither_repeat_nor_hide_any_on_later_pages(client):
    made = [client.pay().body["id"] for _ in range(6)]
    found, path = [], f"{PATH}?limit=2"
    with ThreadPoolExecutor(4) as threads:
        while path:
            page = client.get(path).body
            found += [payment["id"] for payment in page["data"]]
            list(threads.map(lambda _: client.pay(), range(4)))
            path = page["next"]

    assert found == made[::-1]


@pytest.fixture(scope="module")
def shop(make_shop) -> tuple[Client, dict[str, dict[str, Any]]]:
    """A merchant with one payment of each kind, by name."""
    client = make_shop()
    made = {
        "succeeded": client.pay(1000, "EUR", key="order-1").body,
        "declined": client.pay(1901, "EUR").body,
        "failed": client.pay(1911, "USD").body,
        "blocked": client.pay(5000, "JPY", payment_method={"type": "card", "token": "tok_fraud"}).body,
        "newest": client.pay(2000, "KWD", key="a&b").body,
    }
    client.refund(made["succeeded"]["id"], 100, key="refund-1")
    return client, made


@pytest.mark.parametrize("status", ["succeeded", "declined", "failed", "blocked"])
def test_a_list_by_status(shop, status):
    client, made = shop

    expected = [payment["id"] for payment in made.values() if payment["status"] == status]
    assert made[status]["id"] in expected
    assert ids(client, status=status) == expected[::-1]


def test_a_list_by_an_open_status(client, gateway):
    gateway.profile(cancel_fails=True)
    unknown = client.pay(1922).body
    client.pay()

    assert ids(client, status="unknown") == [unknown["id"]]
    assert ids(client, status="processing") == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"currency": "JPY"}, ["blocked"]),
        ({"currency": "GBP"}, []),
        ({"amount_min": 1911}, ["newest", "blocked", "failed"]),
        ({"amount_max": 1901}, ["declined", "succeeded"]),
        ({"amount_min": 1901, "amount_max": 1911}, ["failed", "declined"]),
        ({"amount_min": 0, "amount_max": 999_999_999_999}, ["newest", "blocked", "failed", "declined", "succeeded"]),
        ({"idempotency_key": "order-1"}, ["succeeded"]),
        ({"idempotency_key": "a&b"}, ["newest"]),
        ({"idempotency_key": "order-2"}, []),
        ({"idempotency_key": "refund-1"}, []),
        ({"idempotency_key": "order-1\0"}, []),
        ({"idempotency_key": ""}, []),
        ({"status": "declined", "currency": "EUR", "amount_min": 1}, ["declined"]),
        ({"status": "declined", "currency": "USD"}, []),
        ({"limit": 200, "currency": "EUR"}, ["declined", "succeeded"]),
    ],
)
def test_a_list_by_reference_customer_and_currency(shop, query, expected):
    client, made = shop

    assert ids(client, **query) == [made[name]["id"] for name in expected]


def test_a_list_by_time(shop):
    client, made = shop
    middle = made["failed"]["created_at"]

    assert ids(client, created_from=middle) == [made[name]["id"] for name in ("newest", "blocked", "failed")]
    assert ids(client, created_before=middle) == [made[name]["id"] for name in ("declined", "succeeded")]
    assert ids(client, created_from=middle, created_before=middle) == []


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("created_from", "1970-01-01T00:00:00+10:00", 5),
        ("created_from", "0001-01-01T00:00:00+23:59", 5),
        ("created_before", "9999-12-31T23:59:59-23:59", 5),
        ("created_before", "0417-07-27T16:48:06.0-22:19", 0),
        ("created_from", "9999-12-31T23:59:59.999999Z", 0),
    ],
)
def test_a_list_by_times_at_the_ends_of_the_calendar(shop, name, value, number):
    assert len(ids(shop[0], **{name: value})) == number


def test_pages_keep_their_filters(client):
    made = [client.pay(amount).body["id"] for amount in (100, 5000, 100, 5000, 5000)]

    found = pages(client, f"{PATH}?limit=1&amount_min=5000&currency=EUR&status=succeeded")

    assert found == [[made[4]], [made[3]], [made[1]]]


@pytest.fixture(scope="module")
def described(make_shop) -> tuple[Client, dict[str, str]]:
    """A merchant with payments that differ in reference, customer and metadata: their ids by name."""
    client = make_shop()
    fields: dict[str, dict[str, Any]] = {
        "first": {"reference": "order-7", "metadata": {"basket": "9", "a]b": "x"}},
        "second": {"reference": "order-8", "customer": "c_42", "metadata": {"basket": "9", "colour": "é&="}},
        "third": {"reference": "order-7", "customer": "c_42", "metadata": {"empty": ""}},
        "declined": {"amount": 1901, "customer": "c_42"},
    }
    return client, {name: client.pay(**body).body["id"] for name, body in fields.items()}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"reference": "order-7"}, ["third", "first"]),
        ({"reference": "order-9"}, []),
        ({"reference": "ORDER-7"}, []),
        ({"customer": "c_42"}, ["declined", "third", "second"]),
        ({"customer": "c_42", "reference": "order-7"}, ["third"]),
        ({"customer": "c_42", "status": "declined"}, ["declined"]),
        ({"metadata[basket]": "9"}, ["second", "first"]),
        ({"metadata[basket]": "9", "metadata[colour]": "é&="}, ["second"]),
        ({"metadata[basket]": "8"}, []),
        ({"metadata[empty]": ""}, ["third"]),
        ({"metadata[a]b]": "x"}, ["first"]),
        ({"metadata[basket]": "9", "limit": 1}, ["second"]),
        ({"status_in": "declined,failed"}, ["declined"]),
        ({"status_in": "processing,succeeded,declined"}, ["declined", "third", "second", "first"]),
        ({"status_in": "declined,succeeded", "status": "declined"}, ["declined"]),
        ({"status_in": "declined,succeeded", "customer": "c_42", "limit": 2}, ["declined", "third"]),
        ({"status_in": "unknown,voided,authorized"}, []),
    ],
)
def test_a_list_by_the_merchants_own_fields(described, query, expected):
    client, made = described

    assert ids(client, **query) == [made[name] for name in expected]


def test_pages_of_several_statuses_hold_each_payment_once(described):
    client, made = described

    found = pages(client, f"{PATH}?limit=1&status_in=declined,succeeded")

    assert found == [[made[name]] for name in ("declined", "third", "second", "first")]


def test_pages_of_a_metadata_filter_keep_it(described):
    client, made = described

    found = pages(client, f"{PATH}?limit=1&{urlencode({'metadata[basket]': '9'})}")

    assert found == [[made["second"]], [made["first"]]]


WRONG = [
    *(
        ("status_in", value)
        for value in ["", ",", "failed,", "failed, declined", "paid", "failed;declined", "x" * 5000]
    ),
    *(("reference", value) for value in ["", "x" * 256, "a\0", "4111 1111 1111 1111"]),
    *(("customer", value) for value in ["", "x" * 256, "\0", "4111111111111111"]),
    *(("limit", value) for value in ["0", "201", "-1", "1.0", "1e1", "ten", "", " 1", "٣", "1" * 5000, "NaN"]),
    *(("status", value) for value in ["paid", "", "SUCCEEDED", "succeeded\0", "succeeded,failed"]),
    *(("currency", value) for value in ["", "eur", "EURO", "XXX", "ABC", "€"]),
    *(("amount_min", value) for value in ["-1", "1.5", "1e3", "", "x", "9" * 13, "9" * 5000, "٣"]),
    *(("amount_max", value) for value in ["-1", "1_000", "0x10", "true"]),
    *(
        ("created_from", value)
        for value in ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "1769699379", "\0"]
    ),
    *(
        ("created_before", value)
        for value in [
            "2026-01-31T12:00:00+99:00",
            "2026-01-31T24:00:01Z",
            "٢٠٢٦-01-31T12:00:00Z",
            "2026-W05-1T12:00:00Z",
            "2026-W05-1",
            "20260131T120000Z",
            "2026-01-31T12Z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00+0200",
            "2026-01-31T12:00:00,5Z",
            "2026-01-31_12:00:00Z",
            "2026-01-31T12:00:00Z\n",
        ]
    ),
    ("colour", "red"),
    ("status[]", "failed"),
    ("a" * 300, "1"),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name[:20]}={value[:24]!r}" for name, value in WRONG])
def test_it_refuses_a_wrong_parameter_and_names_it(client, name, value):
    reply = client.get(f"{PATH}?{quote(name)}={quote(value)}")

    assert reply.status == 422, reply.body
    assert reply.body["code"] in ("invalid_parameter", "unknown_parameter", "invalid_text", "card_number")
    assert reply.body["param"] == name[:64]
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        "metadata[]=1",
        "metadata[a]=1&metadata[a]=1",
        f"metadata[{'k' * 65}]=1",
        f"metadata[a]={'v' * 513}",
        "metadata[a%00]=1",
        "metadata[a]=%00",
        "metadata[4111111111111111]=1",
        "metadata[a]=4111111111111111",
    ],
    ids=lambda query: query[:30],
)
def test_it_refuses_wrong_metadata_and_names_it(client, query):
    reply = client.get(f"{PATH}?{query}")

    assert (reply.status, reply.body["param"]) == (422, "metadata"), reply.body


@pytest.mark.parametrize("query", ["metadata=1", "metadata[a=1", "metadata.a=1", "xmetadata[a]=1", "metadata[a]x=1"])
def test_it_refuses_a_name_that_resembles_a_metadata_filter(client, query):
    reply = client.get(f"{PATH}?{query}")

    assert (reply.status, reply.body["code"]) == (422, "unknown_parameter"), reply.body
    assert "metadata[KEY]" in reply.body["detail"]


@pytest.mark.parametrize("query", ["%ff=%fe", "limit=%ff", "&&&", "limit", "a=1;b=2", "%", "limit=1&limit=0", "=1"])
def test_an_odd_query_string_is_a_422_or_means_nothing(client, query):
    assert client.get(f"{PATH}?{query}").status == (200 if query == "&&&" else 422)


@pytest.mark.parametrize("charset", ["hex", "idna", "utf-7", "rot13", "unknown-8", "undefined"])
def test_the_query_is_utf_8_whatever_charset_is_named(client, charset):
    headers = {"Content-Type": f"application/json; charset={charset}", "Authorization": f"Bearer {client.api_key}"}
    reply = client.platform.request("GET", f"{PATH}?status=%66ailed&idempotency_key=%C3%BC", headers=headers)

    assert (reply.status, reply.body) == (200, {"data": [], "next": None})
