"""Captures, voids, refunds and the expiry at the same moment: the database decides, and the books equal the gateway."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.db.models.functions import Now

from fintech.testing.databases import in_thread
from fintech.testing.processes import wait_until
from payments.models import Authorization, Event, Transaction, Void
from payments.services.authorization_expiry import void_expired
from payments.tests.consistency import check_books, counters_equal_rows, settled
from payments.tests.services.test_races import at_once

pytestmark = pytest.mark.processes


def expire(payment: str) -> None:
    """Let the time of an authorization be over, for the table that the worker reads."""
    Authorization.objects.filter(transaction_id=payment).update(capture_before=Now() - timedelta(seconds=1))


@pytest.mark.parametrize("latency", [0, 100])
def test_either_a_capture_or_a_void_wins_and_never_both(client, holder, gateway, platform, latency):
    payments = [holder.authorize(1000) for _ in range(5)]
    gateway.profile(latency_ms=latency)

    for payment in payments:
        capture, void = at_once([partial(holder.capture, payment), partial(holder.void, payment)])
        assert Counter((capture.status, void.status)) in (Counter((201, 409)), Counter((409, 201)))
        assert holder.read(payment)["status"] == ("succeeded" if capture.status == 201 else "voided")

    gateway.profile(latency_ms=0)
    check_books(gateway, client.merchant)
    wait_until(lambda: counters_equal_rows(platform), what="counters equal rows")


def test_one_final_capture_wins_among_many(client, holder, gateway):
    payment = holder.authorize(1000)

    replies = at_once([lambda: holder.capture(payment)] * 8)

    assert Counter(reply.status for reply in replies) == {201: 1, 409: 7}
    assert holder.amounts(payment) == ("succeeded", 1000, 1000, 0)
    check_books(gateway, client.merchant)


def test_parallel_captures_never_exceed_the_authorization(client, holder, gateway):
    payment = holder.authorize(1000)

    replies = at_once([lambda: holder.capture(payment, 300, final=False)] * 8)

    assert Counter(reply.status for reply in replies) == {201: 3, 422: 5}
    assert holder.amounts(payment) == ("authorized", 1000, 900, 0)
    check_books(gateway, client.merchant)


def test_captures_and_refunds_at_once_stay_within_each_other(client, holder, gateway):
    payment = holder.authorize(1000)
    holder.capture(payment, 200, final=False)

    calls = [lambda: holder.capture(payment, 100, final=False)] * 4 + [lambda: client.refund(payment, 150)] * 4
    replies = at_once(calls)

    assert [reply.status for reply in replies[:4]] == [201] * 4
    refunded = sum(reply.status == 201 for reply in replies[4:])
    assert 1 <= refunded <= 4
    assert holder.amounts(payment) == ("authorized", 1000, 600, 150 * refunded)
    check_books(gateway, client.merchant)


def test_one_key_at_once_is_one_capture(client, holder, gateway):
    payment = holder.authorize(1000)

    replies = at_once([lambda: holder.capture(payment, 400, final=False, key="k")] * 8)

    assert {reply.status for reply in replies} <= {200, 201, 409}
    assert holder.amounts(payment) == ("authorized", 1000, 400, 0)
    check_books(gateway, client.merchant)


def test_an_expired_authorization_is_voided_by_the_worker_and_says_so(client, holder, gateway, platform):
    payment = holder.authorize(1000)
    holder.capture(payment, 400, final=False)

    expire(payment)

    wait_until(lambda: holder.read(payment)["status"] == "succeeded", what="the worker voids the rest")
    void = Event.objects.get(transaction_id=payment, kind="void_succeeded")
    assert void.actor == "expiry"
    assert holder.amounts(payment) == ("succeeded", 1000, 400, 0)
    wait_until(lambda: counters_equal_rows(platform), what="counters equal rows")


@pytest.mark.parametrize("faults", [{}, {"lose_reply_ratio": 1}])
def test_an_authorization_that_has_expired_at_the_gateway_is_voided_at_once(client, holder, gateway, faults):
    payment = holder.authorize(1000)
    holder.capture(payment, 400, final=False)
    gateway.profile(authorization_seconds=0, **faults)

    holder.capture(payment, key="late")
    gateway.reset_profile()

    wait_until(lambda: holder.read(payment)["status"] == "succeeded", what="the rest is released")
    late = holder.capture(payment, key="late").body
    assert (late["status"], late["failure"]["code"]) == ("failed", "authorization_expired")
    assert Event.objects.get(transaction_id=payment, kind="void_succeeded").actor == "expiry"
    assert holder.amounts(payment) == ("succeeded", 1000, 400, 0)
    check_books(gateway, client.merchant)


def test_the_expiry_wins_against_a_capture(client, holder, gateway):
    payments = [holder.authorize(1000) for _ in range(4)]
    for payment in payments:
        expire(payment)
        capture, _ = at_once([partial(holder.capture, payment), in_thread(void_expired)])
        assert capture.status == 409, capture.body
        assert capture.body["code"] in ("authorization_expired", "authorization_closing", "not_authorized")

    def all_voided() -> bool:
        return Transaction.objects.filter(id__in=payments, status="voided").count() == len(payments)

    wait_until(all_voided, what="all are voided")
    settled(client.merchant)
    assert all(holder.amounts(payment) == ("voided", 1000, 0, 0) for payment in payments)


def test_voids_that_the_gateway_declines_follow_with_growing_pauses(client, holder, gateway):
    """One followed the other each second, for ever, and a hundred such payments kept all others waiting."""
    payment = holder.authorize(1000)
    gateway.profile(decline_ratio=1)
    expire(payment)
    voids = Void.objects.filter(transaction_id=payment)
    wait_until(lambda: voids.filter(status="failed").exists(), what="the gateway declines the void")

    Authorization.objects.filter(transaction_id=payment).update(capture_before=Now() - timedelta(hours=1))
    wait_until(lambda: not Authorization.objects.filter(pk=payment, closing_id__isnull=False), what="no void is open")
    failed = voids.count()
    void_expired()
    assert voids.count() == failed

    expire(payment)
    gateway.profile(decline_ratio=0)
    wait_until(lambda: holder.read(payment)["status"] == "voided", what="a later void succeeds")


@pytest.mark.parametrize("operation", ["capture", "void"])
def test_an_operation_whose_reply_is_lost_is_unknown_and_then_settled(client, holder, gateway, platform, operation):
    payment = holder.authorize(1000)
    gateway.profile(lose_reply_ratio=1, cancel_fails=True)

    lost = getattr(holder, operation)(payment, key="lost")
    other = holder.void(payment)

    assert (lost.status, lost.body["status"]) == (202, "unknown")
    assert (other.status, other.body["code"]) == (409, "authorization_closing")
    gateway.profile(lose_reply_ratio=0, cancel_fails=False)
    settled(client.merchant)
    again = getattr(holder, operation)(payment, key="lost")
    assert (again.status, again.body["status"]) == (200, "succeeded")
    assert holder.read(payment)["status"] == ("succeeded" if operation == "capture" else "voided")
    check_books(gateway, client.merchant)
    wait_until(lambda: counters_equal_rows(platform), what="counters equal rows")


def test_an_authorization_whose_reply_is_lost_is_authorized_by_the_resolver(client, holder, gateway):
    reply = client.pay(1922, capture=False, key="lost")

    assert (reply.status, reply.body["status"]) == (202, "unknown")
    settled(client.merchant)
    again = client.pay(1922, capture=False, key="lost")
    assert (again.status, again.body["status"]) == (200, "authorized")
    assert holder.capture(str(reply.body["id"]), 1000).status == 201
    check_books(gateway, client.merchant)
