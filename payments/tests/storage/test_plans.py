"""The plans of the writer's statements: none reads a whole table, and none compares each row of a group with each."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.db.transaction import atomic

from payments.storage.group_commit import STATEMENTS, PaymentWriter
from payments.storage.payment_sql import Part

Node = dict[str, Any]
SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"}


@pytest.fixture(scope="module")
def session(django_db_blocker) -> Iterator[psycopg.Connection[Any]]:
    with django_db_blocker.unblock():
        writer = PaymentWriter()
        yield writer._connected()
        writer.disconnect()


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


@pytest.fixture(params=STATEMENTS, ids="+".join)
def plan(session, request) -> list[Node]:
    values = {part.value: "[]" for part in Part}
    statement = f"EXPLAIN (FORMAT JSON) {STATEMENTS[request.param]}"
    ((plans,),) = session.execute(statement, {**values, "writer": 1}).fetchall()
    return list(nodes(plans[0]["Plan"]))


def test_rows_of_a_table_are_found_by_an_index(plan):
    scans = [node for node in plan if node["Node Type"] in SCANS]

    assert [node for node in scans if "Index Cond" not in node] == []


def reads_one_row(node: Node) -> bool:
    """Return True if the inner side of a loop is made of its outer row: `VALUES`, or the fields of its JSON object."""
    return node["Node Type"] == "Values Scan" or node.get("Function Name") == "jsonb_to_record"


def test_rows_of_a_group_are_joined_by_hash_or_order(plan):
    loops = [node for node in plan if node["Node Type"] == "Nested Loop"]

    assert [loop for loop in loops if not reads_one_row(loop["Plans"][1])] == []


INSERT = """
INSERT INTO copy (id, merchant_id, idempotency_key, amount, currency, status, fraud_reasons, metadata, fee_basis_points,
    gateway_key)
SELECT gen_random_uuid(), 1, 'key', 1250, 'EUR', 'processing', '[]', '{}', 0, gen_random_uuid()
FROM generate_series(1, %s)
"""


def test_a_payment_in_a_range_that_has_a_filter_writes_little():
    """The range of an empty table has a filter from the start. An image of a page, after a checkpoint, is no filter."""
    with atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute("CREATE TABLE copy (LIKE payments_transaction INCLUDING DEFAULTS INCLUDING INDEXES)")
        cursor.execute(INSERT, [300])
        written = []
        for _ in range(3):
            cursor.execute(f"EXPLAIN (ANALYZE, WAL, FORMAT JSON) {INSERT}", [1])
            written.append(cursor.fetchone()[0][0]["Plan"]["WAL Bytes"])
        connections["owner"].set_rollback(True)

    assert min(written) < 1_500
