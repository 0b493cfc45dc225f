"""`?expand=`: payments with the lists of what follows them, in a bounded number of statements."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.transaction import atomic, set_rollback
from django.test import Client
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from payments.api.expansion import EXPANDABLE, NESTED_LIMIT
from payments.api_keys import create_api_key
from payments.models import Capture, Dispute, Merchant, Refund, Transaction
from payments.tests.factories import make_payment

PATH = "/v1/transactions"
ALL = ",".join(EXPANDABLE)

Get = Callable[[str], Any]


@pytest.fixture
def get(merchant: Merchant, monkeypatch: pytest.MonkeyPatch) -> Iterator[Get]:
    """Ask for an address within this process, and a transaction that is rolled back."""
    _, secret = create_api_key(merchant=merchant, name="test", scopes=["payments:read"])

    def run(address: str) -> Any:
        return Client().get(address, headers={"Authorization": f"Bearer {secret}"})

    monkeypatch.setattr("payments.api_keys.CACHE_SECONDS", 3600)
    run(PATH)  # the key is remembered from here on
    with atomic():
        yield run
        set_rollback(True)  # no gateway knows these payments


def count_statements(get: Get, address: str) -> int:
    with CaptureQueriesContext(connection) as statements:
        assert get(address).status_code == 200
    return len(statements)


def make_followed(merchant: Merchant, number: int = 1) -> tuple[Transaction, dict[str, list[UUID]]]:
    """Return a payment, and the ids of its refunds, captures and disputes, newest first."""
    payment = make_payment(merchant)
    made: dict[str, list[UUID]] = {title: [uuid7() for _ in range(number)] for title in EXPANDABLE}
    common: dict[str, Any] = {"transaction": payment, "amount": 1}
    for key in made["refunds"] + made["captures"]:
        fields = common | {"idempotency_key": secrets.token_hex(12), "gateway_key": key, "status": "processing"}
        if key in made["refunds"]:
            Refund.objects.create(id=key, **fields)
        else:
            Capture.objects.create(id=key, final=False, **fields)
    claim = {"merchant": merchant, "fee": 0, "reason": "fraudulent", "status": "opened", "sequence": 1}
    for key in made["disputes"]:
        Dispute.objects.create(id=key, gateway_key=uuid4(), **common, **claim)
    return payment, {title: ids[::-1] for title, ids in made.items()}


def ids_of(rows: list[dict[str, str]]) -> list[UUID]:
    return [UUID(row["id"]) for row in rows]


def test_each_payment_of_a_page_has_its_own_lists(get, merchant):
    made = [make_followed(merchant, number) for number in (2, 1)]
    bare = make_payment(merchant)

    page = get(f"{PATH}?expand={ALL}").json()["data"]

    assert ids_of(page) == [bare.pk, made[1][0].pk, made[0][0].pk]
    for title in EXPANDABLE:
        assert page[0][title] == {"data": [], "next": None}
        for row, (_, ids) in zip(page[:0:-1], made, strict=True):
            assert (ids_of(row[title]["data"]), row[title]["next"]) == (ids[title], None)
            assert {entry["transaction"] for entry in row[title]["data"]} == {row["id"]}


@pytest.mark.parametrize("titles", [("disputes",), ("refunds", "disputes"), ("disputes", "captures", "refunds")])
def test_only_the_lists_that_are_asked_for_are_added(get, merchant, titles):
    payment, ids = make_followed(merchant)
    plain = get(f"{PATH}/{payment.pk}").json()

    expanded = get(f"{PATH}/{payment.pk}?expand={','.join(titles)}").json()
    (listed,) = get(f"{PATH}?expand={','.join(titles)}").json()["data"]

    assert listed == expanded
    assert {title: ids_of(expanded.pop(title)["data"]) for title in titles} == {title: ids[title] for title in titles}
    assert expanded == plain == get(PATH).json()["data"][0]


@pytest.mark.parametrize(("address", "limit"), [(f"{PATH}/{{id}}", 50), (PATH, NESTED_LIMIT)])
@pytest.mark.parametrize("title", EXPANDABLE)
def test_a_long_list_leads_to_its_own_pages(get, merchant, address, limit, title):
    payment, ids = make_followed(merchant, limit + 1)
    make_followed(merchant)

    body = get(f"{address.format(id=payment.pk)}?expand={title}").json()
    first = body.get("data", [body])[-1][title]
    second = get(first["next"]).json()

    assert ids_of(first["data"]) == ids[title][:limit]
    assert (ids_of(second["data"]), second["next"]) == (ids[title][limit:], None)


def test_the_next_page_of_payments_is_expanded_too(get, merchant):
    older, ids = make_followed(merchant)
    make_followed(merchant)

    following = get(f"{PATH}?expand=disputes&limit=1").json()["next"]

    (row,) = get(following).json()["data"]
    assert (row["id"], ids_of(row["disputes"]["data"])) == (str(older.pk), ids["disputes"])


def test_a_list_costs_one_statement_however_many_payments_there_are(get, merchant):
    make_followed(merchant)
    plain, few = count_statements(get, PATH), count_statements(get, f"{PATH}?expand={ALL}")
    for _ in range(6):
        make_followed(merchant, 2)

    assert count_statements(get, f"{PATH}?expand={ALL}") == few == plain + len(EXPANDABLE)
    assert count_statements(get, f"{PATH}?expand=disputes") == plain + 1


def test_a_payment_costs_one_statement_for_each_list(get, merchant):
    payment, _ = make_followed(merchant, 3)
    address = f"{PATH}/{payment.pk}"

    assert count_statements(get, f"{address}?expand={ALL}") == count_statements(get, address) + len(EXPANDABLE)


@pytest.mark.parametrize("value", ["", "dispute", "disputes,", ",disputes", "refunds, disputes", "DISPUTES", "events"])
def test_a_page_of_an_unknown_list_is_refused(get, merchant, value):
    for address in (PATH, f"{PATH}/{make_payment(merchant).pk}"):
        reply = get(f"{address}?expand={quote(value)}")

        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
        assert reply.json()["detail"] == (
            "expand is wrong: use some of refunds, captures, disputes, separated by commas."
        )


def test_expand_is_refused_twice(get):
    reply = get(f"{PATH}?expand=refunds&expand=disputes")

    assert (reply.status_code, reply.json()["param"]) == (422, "expand")
