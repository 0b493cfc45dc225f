"""Lists stay fast however many payments there are: each goes through an index and reads little."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.db import connections
from django.db.transaction import atomic, set_rollback
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from payments.api.transaction_pages import transaction_page, write_cursor
from payments.models import Event
from payments.tests.factories import make_payment

BIG, SMALL = 900_001, 900_002  # merchants that exist here alone
NUMBER = 30_000

# One payment a second from now on, so that none is newer; one in 50 is the small merchant's, one in 300 failed.
FILL = f"""
CREATE TEMP TABLE made AS SELECT uuidv7(make_interval(secs => n)) AS id, n,
    CASE WHEN n % 50 = 0 THEN {SMALL} ELSE {BIG} END AS merchant,
    CASE WHEN n % 300 = 7 THEN 'failed' WHEN n % 20 = 3 THEN 'declined' ELSE 'succeeded' END AS status
FROM generate_series(1, {NUMBER}) AS n;
INSERT INTO payments_transaction (id, merchant_id, idempotency_key, amount, currency, status, fraud_score,
    fraud_reasons, metadata, fee_basis_points, gateway_key, created_at, settled_at)
SELECT id, merchant, 'key-' || n, n, CASE n % 3 WHEN 0 THEN 'EUR' ELSE 'USD' END, status, 0, '[]', '{{}}', 0, id,
    now() + make_interval(secs => n), now() FROM made;
INSERT INTO payments_idempotencykey SELECT merchant, 'key-' || n, id, 'payment' FROM made;
INSERT INTO payments_event (transaction_id, kind, actor, at) SELECT id, kind, 'api', now()
FROM made, LATERAL (VALUES ('processing'), (status)) AS step(kind);
ANALYZE payments_transaction, payments_event, payments_idempotencykey, payments_unresolved;
"""


@pytest.fixture(scope="module")
def filled() -> Iterator[None]:
    """Many payments, in a transaction that is rolled back."""
    with atomic(using="owner"):
        with connections["owner"].cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '60s'")
            cursor.execute(FILL)
        yield
        set_rollback(True, using="owner")


def id_at(share: float) -> UUID:
    """The id of the payment that is newer than this share of them."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT id FROM made WHERE n = %s", [int(NUMBER * share)])
        return cursor.fetchone()[0]


def explain(statement: str) -> dict[str, Any]:
    with connections["owner"].cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        answer = cursor.fetchone()[0]
    return (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def plan_of(merchant: int, **query: Any) -> dict[str, Any]:
    """The plan of the page's own statement, over all those payments."""
    with CaptureQueriesContext(connections["default"]) as captured:
        transaction_page(RequestFactory(headers={"Host": "localhost"}).get("/v1/transactions", query), merchant)
    return explain(captured[-1]["sql"])


def indexes(plan: dict[str, Any]) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def blocks(plan: dict[str, Any]) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def assert_small(plan: dict[str, Any], *, within: int) -> None:
    text = json.dumps(plan, indent=1)
    assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"], text
    assert blocks(plan) <= within, text


@pytest.mark.parametrize("merchant", [BIG, SMALL])
@pytest.mark.parametrize("share", [None, 0.99, 0.5, 0.1])
def test_a_page_reads_about_its_own_rows(filled, merchant, share):
    query = {} if share is None else {"cursor": write_cursor(id_at(share))}

    plan = plan_of(merchant, **query)

    assert_small(plan, within=80)
    assert plan["Actual Rows"] == 51
    assert not [node for node in nodes(plan) if node["Node Type"] == "Sort"]
    assert merchant == BIG or indexes(plan) == {"transaction_merchant_newest"}


@pytest.mark.parametrize("status", ["succeeded", "declined"])
@pytest.mark.parametrize("share", [None, 0.9, 0.1])
def test_a_page_of_a_usual_status_reads_little_however_deep_it_is(filled, status, share):
    query = {} if share is None else {"cursor": write_cursor(id_at(share))}

    plan = plan_of(BIG, status=status, **query)

    assert_small(plan, within=150)
    assert "event_kind_transaction" in indexes(plan)


@pytest.mark.parametrize("merchant", [BIG, SMALL])
def test_a_rare_status_is_found_through_the_journal(filled, merchant):
    plan = plan_of(merchant, status="failed")

    assert_small(plan, within=1200)  # of some 3,000; beside the rows of other tests the planner may join either way
    assert "event_kind_transaction" in indexes(plan)


@pytest.mark.parametrize("status", ["processing", "unknown"])
def test_an_open_payment_is_found_by_the_index_of_open_payments(filled, status):
    assert blocks(plan_of(BIG, status=status)) < 50


def test_times_narrow_the_ids_down(filled):
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT now() + interval '3 hours', now() + interval '181 minutes'")
        start, end = (moment.isoformat() for moment in cursor.fetchone())

    plan = plan_of(BIG, created_from=start, created_before=end)

    assert_small(plan, within=150)


def test_a_key_is_found_through_the_primary_key(filled):
    plan = plan_of(BIG, idempotency_key="key-777")

    assert_small(plan, within=20)
    assert "payments_idempotencykey_pkey" in indexes(plan)


def test_the_events_of_a_payment_are_found_by_a_skip_scan(filled):
    """The journal has no index of its own for that: PostgreSQL 18 skips over the few kinds."""
    statement = Event.objects.filter(transaction_id=id_at(0.5)).order_by("id").query

    plan = explain(str(statement).replace(str(id_at(0.5)), f"'{id_at(0.5)}'"))

    assert_small(plan, within=60)
    assert indexes(plan) == {"event_kind_transaction"}
    assert plan["Actual Rows"] == 2


@pytest.mark.parametrize(
    "filters",
    [
        {"reference": "none"},
        {"customer": "none"},
        {"metadata[a]": "b"},
        {"reference": "none", "status": "succeeded"},
        {"reference": "none", "status_in": "failed,declined"},
    ],
)
@pytest.mark.parametrize("share", [None, 0.5])
def test_a_page_of_a_filter_without_an_index_examines_a_bounded_number(filled, filters, share, monkeypatch):
    """300 of these payments, as 10,000 are of a few hundred thousand."""
    top = 1 if share is None else share
    monkeypatch.setattr("payments.api.transaction_pages._lowest_examined", lambda *_: id_at(top - 0.01))
    query = {} if share is None else {"cursor": write_cursor(id_at(share))}

    plan = plan_of(BIG, **filters, **query)

    assert_small(plan, within=1500 if "status" in str(filters) else 100)
    assert max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes(plan)) <= 301


def test_the_end_of_such_a_page_is_found_in_an_index(filled):
    with CaptureQueriesContext(connections["default"]) as captured:
        transaction_page(RequestFactory().get("/v1/transactions", {"reference": "none"}), BIG)
    (statement,) = [query["sql"] for query in captured if "OFFSET" in query["sql"]]

    plan = explain(statement)

    assert plan["Actual Rows"] == 1
    assert not [node for node in nodes(plan) if node["Node Type"] in ("Seq Scan", "Sort")], plan


@pytest.mark.parametrize("extra", [{}, {"status": "succeeded"}, {"status_in": "succeeded,declined"}])
def test_all_pages_of_such_a_filter_find_every_payment(merchant, monkeypatch, extra):
    """A page may hold none of them and still lead to the next."""
    monkeypatch.setattr("payments.api.transaction_pages.MAX_EXAMINED", 3)
    made = [make_payment(merchant, reference="rare" if n in (0, 1, 8) else "usual").pk for n in range(12)]
    factory = RequestFactory(headers={"Host": "localhost"})
    found, sizes = [], []
    address: str | None = f"/v1/transactions?{urlencode({'reference': 'rare', 'limit': 2, **extra})}"
    while address:
        rows, address = transaction_page(factory.get(address), merchant.pk)
        found += [row.id for row in rows]
        sizes.append(len(rows))

    assert found == [made[8], made[1], made[0]]
    assert 0 in sizes
    assert len(sizes) <= 6


def test_a_time_ends_such_a_list(merchant, monkeypatch):
    """Without it the list would go on through years of payments."""
    monkeypatch.setattr("payments.api.transaction_pages.MAX_EXAMINED", 3)
    for _ in range(6):
        make_payment(merchant)
    query = {"reference": "none", "created_from": "2100-01-01T00:00:00Z"}

    assert transaction_page(RequestFactory().get("/v1/transactions", query), merchant.pk) == ([], None)
