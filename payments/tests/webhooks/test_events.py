"""Events follow from the journal: each entry once, in its order, with the object of that moment."""

import json
import threading

import psycopg
import pytest
from django.db import connections
from django.db.models.functions import Now
from django.utils import timezone
from msgspec import UNSET
from uuid_utils.compat import uuid7

from payments.models import Authentication, Capture, Event, Refund, Transaction, Void, WebhookDelivery, WebhookEvent
from payments.tests.factories import make_payment
from payments.webhooks.endpoints import create_endpoint
from payments.webhooks.objects import encode, serialize_events
from payments.webhooks.outbox import Outbox


def announced(merchant) -> list[WebhookEvent]:
    rows = WebhookEvent.objects.filter(merchant=merchant).select_related("journal__transaction")
    return list(rows.order_by("journal_id"))


def refund(payment, status="succeeded", **fields) -> Refund:
    made = Refund.objects.create(
        id=uuid7(),
        transaction=payment,
        idempotency_key="k",
        amount=400,
        gateway_key=uuid7(),
        status=status,
        settled_at=Now(),
        **fields,
    )
    for kind in ("refund_processing", f"refund_{status}"):
        Event.objects.create(transaction=payment, refund_id=made.pk, kind=kind, actor="api")
    return made


def test_each_entry_of_the_journal_is_announced_once_in_its_order(merchant, announce):
    payments = [make_payment(merchant, status=status) for status in ("succeeded", "declined", "unknown", "blocked")]

    announce()
    announce()

    rows = announced(merchant)
    entries = Event.objects.filter(transaction__in=payments).order_by("pk")
    assert [row.journal_id for row in rows] == [entry.pk for entry in entries]
    assert [row.type for row in rows] == [f"payment.{entry.kind}" for entry in entries]
    assert [row.pk for row in rows] == sorted(row.pk for row in rows)


def test_an_event_has_the_object_of_its_moment(merchant, announce):
    payment = make_payment(merchant, gateway_reference="gw_1")
    Transaction.objects.filter(pk=payment.pk).update(amount_reserved=400, amount_refunded=400)

    announce()

    created, succeeded = serialize_events(announced(merchant))
    assert (created.type, created.data.status, created.data.settled_at) == ("payment.processing", "processing", None)
    assert created.data.gateway_reference is None
    assert (succeeded.data.status, succeeded.data.gateway_reference) == ("succeeded", "gw_1")
    assert succeeded.data.settled_at is not None
    assert succeeded.data.amount_refunded == 0  # the refund came later


def test_refunds_of_the_captured_part_are_in_the_last_event_of_an_authorization(merchant, announce):
    held = {"manual_capture": True, "manually_captured": 800, "capture_before": Now(), "amount": 1000}
    payment = make_payment(merchant, status="authorized", amount_reserved=800, amount_refunded=800, **held)
    refund(payment)
    Transaction.objects.filter(pk=payment.pk).update(status="succeeded", settled_at=Now(), manually_captured=1000)
    Event.objects.create(transaction=payment, kind="succeeded", actor="api")
    refund(payment)  # later

    announce()

    sent = [json.loads(encode(event)) for event in serialize_events(announced(merchant))]
    amounts = {event["type"]: event["data"]["amount_refunded"] for event in sent if "refund" not in event["type"]}
    assert amounts == {"payment.processing": 0, "payment.authorized": 0, "payment.succeeded": 400}


def test_a_challenge_is_announced_with_its_address(merchant, announce):
    payment = make_payment(merchant, status="requires_action", return_url="https://shop.example/back")
    now = timezone.now()
    challenge = {"url": "https://bank.example/c", "expires_at": now, "gateway_key": payment.gateway_key, "due_at": now}
    Authentication.objects.create(transaction=payment, **challenge)

    announce()

    events = serialize_events(announced(merchant))
    assert [event.type for event in events] == ["payment.processing", "payment.requires_action"]
    asked = events[1].data
    assert (asked.status, asked.settled_at, asked.amount_authorized) == ("requires_action", None, 0)
    assert (asked.next_action.type, asked.next_action.url) == ("redirect", "https://bank.example/c")
    assert asked.authentication is UNSET
    assert events[0].data.next_action is UNSET


def test_a_refund_is_announced_with_its_own_object(merchant, announce):
    payment = make_payment(merchant)
    made = refund(payment, "failed", failure_code="exceeds_charge")

    announce()

    processing, failed = serialize_events(announced(merchant)[2:])
    assert (processing.type, failed.type) == ("refund.processing", "refund.failed")
    assert processing.data.id == failed.data.id == made.pk
    assert (processing.data.status, processing.data.failure) == ("processing", None)
    assert failed.data.failure.code == "exceeds_charge"


@pytest.mark.parametrize(
    ("operation", "model", "fields"), [("capture", Capture, {"final": True}), ("void", Void, {"reason": "sold out"})]
)
def test_captures_and_voids_are_announced_with_their_own_object(merchant, announce, operation, model, fields):
    payment = make_payment(merchant)
    made = model.objects.create(
        id=uuid7(),
        transaction=payment,
        idempotency_key="k",
        amount=400,
        gateway_key=uuid7(),
        status="failed",
        failure_code="authorization_closed",
        settled_at=Now(),
        **fields,
    )
    for status in ("processing", "failed"):
        entry = {f"{operation}_id": made.pk, "kind": f"{operation}_{status}"}
        Event.objects.create(transaction=payment, actor="api", **entry)

    announce()

    processing, failed = serialize_events(announced(merchant)[2:])
    assert (processing.type, failed.type) == (f"{operation}.processing", f"{operation}.failed")
    assert processing.data.id == failed.data.id == made.pk
    assert (processing.data.status, processing.data.failure, processing.data.settled_at) == ("processing", None, None)
    assert failed.data.failure.code == "authorization_closed"


def test_a_body_is_equal_whenever_it_is_built(merchant, announce):
    payment = make_payment(merchant)
    announce()
    before = [encode(event) for event in serialize_events(announced(merchant))]

    Transaction.objects.filter(pk=payment.pk).update(amount_reserved=1, amount_refunded=1)

    assert [encode(event) for event in serialize_events(announced(merchant))] == before


def test_only_wanted_types_of_the_own_merchant_are_queued(merchant, announce, make_other):
    endpoint, _ = create_endpoint(
        merchant_id=merchant.pk, url="https://shop.example/a", event_types=["payment.succeeded"]
    )
    disabled, _ = create_endpoint(merchant_id=merchant.pk, url="https://shop.example/b", is_enabled=False)
    make_payment(merchant)
    make_payment(make_other())

    announce()

    assert [delivery.event.type for delivery in endpoint.deliveries.all()] == ["payment.succeeded"]
    assert not disabled.deliveries.exists()


def test_an_entry_that_is_committed_after_a_later_one_is_not_passed_over(merchant, announce):
    first, second = make_payment(merchant), make_payment(merchant)
    announce()
    outbox = Outbox()
    parameters = connections["default"].get_connection_params()
    wanted = {name: parameters[name] for name in ("dbname", "host", "port", "user") if parameters.get(name)}
    statement = "INSERT INTO payments_event (transaction_id, kind, actor, at) VALUES (%s, 'unknown', 'api', now())"
    with psycopg.connect(**wanted) as slow:
        slow.execute(statement, [first.pk])  # takes an id, and is not committed
        Event.objects.create(transaction=second, kind="unknown", actor="api")
        for _ in range(3):
            outbox.advance()
        assert len(announced(merchant)) == 4
    announce()

    assert [row.journal.transaction_id for row in announced(merchant)[4:]] == [first.pk, second.pk]


def test_two_leaders_announce_nothing_twice(merchant, announce):
    payments = [make_payment(merchant) for _ in range(20)]
    endpoint, _ = create_endpoint(merchant_id=merchant.pk, url="https://shop.example/a")

    def lead() -> None:
        outbox = Outbox()
        for _ in range(4):
            outbox.advance()
        connections.close_all()

    threads = [threading.Thread(target=lead) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    announce()

    assert len(announced(merchant)) == 2 * len(payments)
    assert WebhookDelivery.objects.filter(endpoint=endpoint).count() == 2 * len(payments)
