import hashlib
import logging

import pytest
from django.db import connection, transaction

from alerts_audit.models import Delivery
from alerts_audit.services import record_delivery
from alerts_audit.tests.payloads import READABLE, UNREADABLE, alertmanager_body


def record(body: bytes, **fields) -> Delivery:
    headers = {"content_type": "application/json", "content_encoding": None, "request_id": None, **fields}
    return record_delivery(source="alertmanager", body=body, **headers)


@pytest.mark.parametrize("body", [*UNREADABLE.values(), *READABLE.values()], ids=[*UNREADABLE, *READABLE])
def test_any_body_is_kept_byte_for_byte_with_its_hash(body):
    delivery = Delivery.objects.get(pk=record(body).pk)

    assert bytes(delivery.body) == body
    assert bytes(delivery.sha256) == hashlib.sha256(body).digest()
    assert delivery.size == len(body)


def test_it_refuses_to_be_part_of_a_transaction_that_may_be_rolled_back():
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        record(b"{}")


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


def test_each_delivery_is_logged_once_with_what_it_says(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    body = alertmanager_body("B", "A", groupKey="k" * 1000)
    delivery = record(body)

    [line] = caplog.records
    fields = line.__dict__
    assert line.getMessage() == "alert_received"
    assert fields["delivery_id"] == delivery.pk
    assert fields["sha256"] == hashlib.sha256(body).hexdigest()
    assert fields["size"] == len(body)
    assert (fields["receiver"], fields["status"], fields["alerts"]) == ("audit", "firing", 2)
    assert fields["alertnames"] == ["A", "B"]
    assert fields["group_key"] == "k" * 200


def test_an_unreadable_delivery_is_logged_as_such(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    record(b"{")

    [line] = caplog.records
    assert line.getMessage() == "alert_received"
    assert line.__dict__["readable"] is False
