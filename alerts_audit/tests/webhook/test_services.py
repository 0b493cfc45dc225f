import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from alerts_audit.models import Delivery
from alerts_audit.tests.payloads import READABLE, UNREADABLE, alertmanager_body
from alerts_audit.webhook.recorder import MAX_CONNECTIONS, recorder
from alerts_audit.webhook.services import log_delivery, record_delivery


def record(body: bytes, **fields) -> Delivery:
    usual = {"content_type": "application/json", "content_encoding": None, "request_id": None}
    delivery = record_delivery(body=body, **{"source": "alertmanager", **usual, **fields})
    log_delivery(delivery)
    return delivery


@pytest.mark.parametrize("body", [*UNREADABLE.values(), *READABLE.values()], ids=[*UNREADABLE, *READABLE])
def test_any_body_is_kept_byte_for_byte_with_its_hash(body):
    delivery = Delivery.objects.get(pk=record(body).pk)

    assert bytes(delivery.body) == body
    assert bytes(delivery.sha256) == hashlib.sha256(body).digest()
    assert delivery.size == len(body)


def test_a_transaction_of_the_callers_cannot_take_it_back():
    with transaction.atomic():
        delivery = record(b"{}")
        transaction.set_rollback(True)

    assert Delivery.objects.filter(pk=delivery.pk).exists()


def test_after_its_connection_was_ended_the_next_delivery_is_stored():
    record(b"{}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'alerts'")

    assert record(b"{}").pk


def test_a_delivery_that_cannot_be_stored_leaves_the_way_free_for_the_next():
    with pytest.raises(psycopg.errors.NotNullViolation):
        record(b"{}", source=None)

    assert record(b"{}").pk


def test_a_delivery_gives_up_after_waiting_too_long_for_earlier_ones(monkeypatch):
    monkeypatch.setattr("alerts_audit.webhook.recorder.WAIT_SECONDS", 0.01)
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(recorder._places)
        with pytest.raises(psycopg.OperationalError, match="still being stored"):
            record(b"{}")

    assert record(b"{}").pk


def test_many_at_once_share_a_few_connections():
    with ThreadPoolExecutor(16) as threads:
        deliveries = list(threads.map(lambda _: record(b"{}").pk, range(64)))

    assert len(set(deliveries)) == 64
    assert 1 <= len(recorder._idle) <= MAX_CONNECTIONS


def test_the_time_is_the_databases():
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        before = cursor.fetchone()[0]
        delivery = record(b"{}")
        cursor.execute("SELECT clock_timestamp()")
        after = cursor.fetchone()[0]

    assert before <= delivery.received_at <= after


def test_headers_are_bounded_and_may_hold_anything():
    delivery = record(b"", content_type="x\0y" * 1000, content_encoding="")

    stored = Delivery.objects.get(pk=delivery.pk)
    assert stored.content_type == ("xy" * 1000)[:255]
    assert stored.content_encoding is None


def lines(caplog) -> list[Any]:
    """The webhook's; a projector that was woken before writes others."""
    return [line for line in caplog.records if line.__dict__.get("kind") == "delivery"]


def test_each_delivery_is_logged_once_with_what_it_says(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    body = alertmanager_body("B", "A", groupKey="k" * 1000)
    delivery = record(body)

    [line] = lines(caplog)
    fields = line.__dict__
    assert line.getMessage() == "alert_received"
    assert fields["delivery_id"] == delivery.pk
    assert fields["sha256"] == hashlib.sha256(body).hexdigest()
    assert fields["size"] == len(body)
    assert (fields["receiver"], fields["status"], fields["alerts"]) == ("audit", "firing", 2)
    assert fields["alertnames"] == ["A", "B"]
    assert fields["group_key"] == "k" * 200
    assert fields["severities"] == ["critical"]
    assert (fields["kind"], fields["source"], fields["complete"]) == ("delivery", "alertmanager", True)


def test_an_unreadable_delivery_is_logged_as_such(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    record(b"{")

    [line] = lines(caplog)
    assert line.getMessage() == "alert_received"
    assert line.__dict__["readable"] is False


@pytest.mark.parametrize(("bodies", "readable"), [(UNREADABLE, False), (READABLE, True)])
def test_the_log_calls_readable_what_the_projection_reads(caplog, bodies, readable):
    caplog.set_level(logging.INFO, "alerts_audit")
    for body in bodies.values():
        record(body)

    assert {line.__dict__["readable"] for line in lines(caplog)} == {readable}


def test_the_beginning_of_a_delivery_is_not_taken_for_all_of_it(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    record(alertmanager_body("X"), size=20_000_000)

    [line] = lines(caplog)
    assert line.__dict__["readable"] is False
