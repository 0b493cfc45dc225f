"""Late outcomes: an event settles what is unknown here, exactly once, beside the resolver."""

import pytest
from django.db import connection

from fintech.testing.processes import wait_until
from payments.models import Event, Refund, Transaction
from payments.tests.audit import audit, gateway_key, settled

pytestmark = pytest.mark.processes

LOST_REPLY = 10_922  # charged, and the reply is lost


def decision_of(gateway, payment, kind: str = "charge", **changes) -> dict[str, object]:
    """Return the gateway's own record of a charge, as an event's data."""
    found = gateway.request("GET", f"/v1/{kind}s/{gateway_key(payment)}").body
    return {name: found[name] for name in ("key", "outcome", "amount", "currency", "reference")} | changes


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
    audit(gateway, shop.merchant)


def test_an_event_after_the_resolver_changes_nothing(shop, gateway, sender):
    payment = shop.pay(LOST_REPLY).body
    shop.resolve()

    sender.send("charge.decided", decision_of(gateway, payment.id))

    assert sender.process() == ["ignored"]
    assert actors(payment.id)[-1] == ("succeeded", "resolver")
    audit(gateway, shop.merchant)


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
    audit(gateway, shop.merchant)


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

    assert sender.process() == ["ignored"]
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
    audit(gateway, shop.merchant)


def test_the_simulator_sends_late_outcomes_that_reach_a_payment_before_the_resolver(client, platform, gateway):
    gateway.profile(late_events=True, events_url=f"{platform.url}/gateway/events", cancel_fails=True)
    try:
        charged = client.pay(LOST_REPLY).body["id"]
        held = client.pay(LOST_REPLY, capture=False).body["id"]
        wait_until(
            lambda: (
                client.get(f"/v1/transactions/{charged}").body["status"] == "succeeded"
                and client.get(f"/v1/transactions/{held}").body["status"] == "authorized"
            ),
            timeout=60,
            what="the events settled both payments",
        )
    finally:
        gateway.profile(late_events=False, events_url=None, cancel_fails=False)
    assert (actors(charged)[-1], actors(held)[-1]) == (("succeeded", "gateway"), ("authorized", "gateway"))
    settled(client.merchant)
    audit(gateway, client.merchant)
