"""Statements about webhooks read little, however many events there are or wait."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.transaction import atomic, set_rollback
from django.test.utils import CaptureQueriesContext

from payments.models import Merchant, WebhookEndpoint
from payments.webhooks.redelivery import redeliver_range
from payments.webhooks.retries import PAUSED_AFTER_FAILURES, note_success

NUMBER = 20_000
EVENTS = """
INSERT INTO payments_webhookevent (id, merchant_id, type, data, at)
SELECT uuidv7(make_interval(secs => n - %(age)s)), %(merchant)s, 'payment.succeeded', '{}',
    now() + make_interval(secs => n - %(age)s)
FROM generate_series(1, %(number)s) AS n
"""
DELIVERIES = """
INSERT INTO payments_webhookdelivery (endpoint_id, event_id, tries)
SELECT %(endpoint)s, id, CASE WHEN row_number() OVER (ORDER BY id) <= 3 THEN 1 ELSE 0 END
FROM payments_webhookevent WHERE merchant_id = %(merchant)s ORDER BY id
"""


@pytest.fixture
def filled(merchant: Merchant, endpoint: WebhookEndpoint) -> Iterator[WebhookEndpoint]:
    """An endpoint for which many old events wait, three of them after a try, in a transaction that is rolled back."""
    with atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '60s'")
            cursor.execute(EVENTS, {"age": 3 * NUMBER, "merchant": merchant.pk, "number": NUMBER})
            cursor.execute(DELIVERIES, {"endpoint": endpoint.pk, "merchant": merchant.pk})
        yield endpoint
        set_rollback(True)


def rows_read(statement: str) -> int:
    """Execute a statement. Returns the rows that its scans found, and those that they left out."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        answer = cursor.fetchone()[0]
    plan = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
    return sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in scans(plan))


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if plan["Node Type"].endswith("Scan"):
        yield plan
    for inner in plan.get("Plans", []):
        yield from scans(inner)


def test_an_endpoint_that_is_back_finds_what_failed_among_all_that_waits(filled):
    """It read everything, which took longer than a statement may, so the success was never stored."""
    filled.failures = PAUSED_AFTER_FAILURES
    delivery = filled.deliveries.order_by("id").first()

    with CaptureQueriesContext(connection) as captured:
        note_success(filled, delivery)

    assert rows_read(captured[-1]["sql"]) <= 10


def test_a_redelivery_of_recent_events_reads_no_older_ones(filled, merchant):
    with connection.cursor() as cursor:
        cursor.execute(EVENTS, {"age": 60, "merchant": merchant.pk, "number": 10})
    now = datetime.now(UTC)

    with CaptureQueriesContext(connection) as captured:
        assert redeliver_range(filled, now - timedelta(minutes=5), now) == 10

    (search,) = (query["sql"] for query in captured if 'FROM "payments_webhookevent"' in query["sql"])
    assert rows_read(search) <= 20
