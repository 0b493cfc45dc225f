"""Decisions: an event settles what is unknown here, exactly once, beside the resolver."""

import re
from uuid import uuid4

import pytest
from django.db import connection
from django.db.transaction import atomic
from prometheus_client import REGISTRY

from payments.gateway_events.search import search_of
from payments.models import Capture, Event, Refund, Transaction, Void
from payments.tests.consistency import check_books, gateway_key

pytestmark = pytest.mark.processes

LOST_REPLY = 10_922  # charged, and the reply is lost


def decision_of(gateway, payment, kind: str = "charge", **changes) -> dict[str, object]:
    """Return the gateway's own record of a charge, as an event's data."""
    found = gateway.request("GET", f"/v1/{kind}s/{gateway_key(payment)}").body
    return {name: found.get(name) for name in ("key", "outcome", "amount", "currency", "reference")} | changes


def actors(payment) -> list[tuple[str, str]]:
    return list(Event.objects.filter(transaction_id=payment).order_by("id").values_list("kind", "actor"))


def test_an_event_settles_an_unknown_payment_once(shop, gateway, sender):
    payment = shop.pay(LOST_REPLY).body
    assert payment.status == "unknown"

    sender.send("charge.decided", decision_of(gateway, payment.id))
    sender.send("charge.decided", decision_of(gateway, payment.id))

    assert sender.process() == ["applied", "ignored"]
    assert Transaction.objects.get(id=payment.id).status == "succeeded"
    assert actors(payment.id)[-1] == ("succeeded", "gateway")
    check_books(gateway, shop.merchant)


def test_an_event_after_the_resolver_changes_nothing(shop, gateway, sender):
    payment = shop.pay(LOST_REPLY).body
    shop.resolve()

    sender.send("charge.decided", decision_of(gateway, payment.id))

    assert sender.process() == ["ignored"]
    assert actors(payment.id)[-1] == ("succeeded", "resolver")
    check_books(gateway, shop.merchant)


@pytest.mark.parametrize(
    "case",
    [
        (5000, {"outcome": "declined", "reference": None}),
        (5000, {"amount": 1}),
        (1901, {"outcome": "approved", "reference": "gw_1"}),
    ],
)
def test_a_decision_that_contradicts_a_final_payment_is_refused_loudly(shop, gateway, sender, caplog, case):
    amount, change = case
    payment = shop.pay(amount).body

    sender.send("charge.decided", decision_of(gateway, payment.id, **change))

    def refused() -> float | None:
        return REGISTRY.get_sample_value("gateway_events_processed_total", {"outcome": "refused"})

    before = refused()
    assert sender.process() == ["refused"]
    assert refused() == before + 1
    assert [record.levelname for record in caplog.records if record.message == "gateway_event"] == ["ERROR"]
    assert Transaction.objects.get(id=payment.id).status == payment.status
    check_books(gateway, shop.merchant)


def test_a_decision_that_contradicts_a_failed_refund_is_refused(shop, gateway, sender):
    refund = shop.refund(shop.pay(20_000).body.id, 1901).body
    assert refund.status == "failed"
    key = str(Refund.objects.get(id=refund.id).gateway_key)
    decision = {"key": key, "outcome": "approved", "amount": 1901, "currency": "EUR", "reference": "gw_1"}

    sender.send("refund.decided", decision)
    sender.send("refund.decided", decision | {"outcome": "declined", "reference": None})

    assert sender.process() == ["refused", "ignored"]


@pytest.mark.parametrize(
    ("outcome", "reference", "expected"), [("approved", "gw_1", "refused"), ("declined", None, "ignored")]
)
@pytest.mark.parametrize("operation", ["charge", "authorization", "capture", "void", "refund"])
def test_a_decision_about_an_unknown_key_is_refused_if_money_moved(sender, operation, outcome, reference, expected):
    decision = {"key": str(uuid4()), "outcome": outcome, "amount": 5, "currency": "EUR", "reference": reference}

    sender.send(f"{operation}.decided", decision)

    assert sender.process() == [expected]


@pytest.mark.parametrize("model", [Transaction, Refund, Capture, Void])
def test_the_search_by_the_gateways_key_reads_no_whole_table(model):
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {search_of(model)}", [uuid4()])
        plan = "".join(line for (line,) in cursor.fetchall())

    assert re.search(rf"Bitmap Index Scan on {model._meta.model_name}_(by_)?gateway_key", plan)


def test_an_event_waits_while_another_process_works_on_the_payment(shop, gateway, sender):
    payment = shop.pay(LOST_REPLY).body
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_unresolved SET lease_token = gen_random_uuid(),"
            " lease_until = clock_timestamp() + interval '1 hour' WHERE resource_id = %s",
            [payment.id],
        )
    sender.send("charge.decided", decision_of(gateway, payment.id))

    assert sender.process() == [None]
    assert "in progress" in sender.stored()[0].detail

    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_unresolved SET lease_token = NULL WHERE resource_id = %s", [payment.id])
    assert sender.process() == ["applied"]
    check_books(gateway, shop.merchant)


@pytest.mark.parametrize("change", [{"amount": 1}, {"currency": "USD"}])
def test_an_event_about_other_money_is_refused(shop, gateway, sender, change):
    payment = shop.pay(LOST_REPLY).body

    sender.send("charge.decided", decision_of(gateway, payment.id, **change))

    assert sender.process() == ["refused"]
    assert Transaction.objects.get(id=payment.id).status == "unknown"
    shop.resolve()


def test_an_event_of_another_operation_with_the_same_key_changes_nothing(shop, gateway, sender):
    payment = shop.pay(LOST_REPLY).body

    sender.send("authorization.decided", decision_of(gateway, payment.id))

    assert sender.process() == ["refused"]
    assert Transaction.objects.get(id=payment.id).status == "unknown"
    shop.resolve()


@pytest.mark.parametrize(
    "change", [{"outcome": "cancelled"}, {"reference": None}, {"amount": 0}, {"key": "none"}, {"amount": "12"}]
)
def test_bad_data_is_marked_as_unreadable(shop, gateway, sender, change):
    payment = shop.pay(LOST_REPLY).body

    sender.send("charge.decided", decision_of(gateway, payment.id, **change))

    assert sender.process() == ["unreadable"]
    shop.resolve()


def test_an_event_settles_an_unknown_refund(shop, gateway, sender):
    payment = shop.pay(20_000).body
    refund = shop.refund(payment.id, LOST_REPLY).body
    assert refund.status == "unknown"
    found = gateway.refund(str(Refund.objects.get(id=refund.id).gateway_key))

    sender.send("refund.decided", {name: found[name] for name in ("key", "outcome", "amount", "currency", "reference")})

    assert sender.process() == ["applied"]
    assert Refund.objects.get(id=refund.id).status == "succeeded"
    check_books(gateway, shop.merchant)
