"""Many at once: one key is one payment, and no refund goes beyond what was paid."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from threading import Event as Signal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db.models.functions import Now

from fintech.database.connections import open_connection
from fintech.database.sql import fetch_one
from fintech.testing.databases import in_thread
from fintech.testing.processes import Reply, answers, free_port, running, wait_until
from payments.gateway.base import Answer
from payments.models import Event, IdempotencyKey, LedgerLeg, Refund, Transaction, Unresolved
from payments.schemas import RefundInput
from payments.services.operations import Request, take_key_and_begin
from payments.services.refunds import begin_refund, settle_refund
from payments.tests.consistency import check_books, counters_equal_rows, gateway_key, settled

pytestmark = pytest.mark.processes

Call = Callable[[], Reply]


def at_once(calls: Sequence[Call]) -> list[Reply]:
    """All of them together, each from a thread and a connection of its own."""
    barrier = Barrier(len(calls))

    def run(call: Call) -> Reply:
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def patiently(call: Call) -> Reply:
    """The answer once it is no longer in flight."""

    def final() -> Reply | None:
        reply = call()
        return None if reply.status in (202, 409, 503) else reply

    return wait_until(final, timeout=15, what="a final answer")


def as_advised(call: Call) -> Reply:
    """The answer, after the repetition with the same key that a 503 asks for.

    On a slow machine, some of many refunds of one payment wait for a connection for more than three seconds.
    """
    reply = call()
    return patiently(call) if reply.status == 503 else reply


@pytest.fixture(autouse=True)
def _plain_gateway(gateway) -> Iterator[None]:
    yield
    gateway.profile(latency_ms=0)


def stored(client) -> dict[str, Any]:
    """Everything that is stored of this merchant."""
    payments = Transaction.objects.filter(merchant=client.merchant).order_by("id")
    ids = list(payments.values_list("id", flat=True))
    return {
        "payments": list(payments.values()),
        "keys": list(IdempotencyKey.objects.filter(merchant_id=client.merchant.pk).order_by("key").values()),
        "refunds": list(Refund.objects.filter(transaction_id__in=ids).order_by("id").values()),
        "events": list(Event.objects.filter(transaction_id__in=ids).order_by("id").values()),
        "legs": list(LedgerLeg.objects.filter(transaction_id__in=ids).order_by("id").values()),
        "unresolved": list(Unresolved.objects.filter(transaction_id__in=ids).values()),
    }


# --- One key -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [0, 300])
def test_fifty_requests_with_one_key_are_one_payment(client, gateway, platform, latency):
    gateway.profile(latency_ms=latency)
    key = secrets.token_hex(12)

    replies = at_once([lambda: client.pay(1250, key=key)] * 50)

    assert Counter(reply.status for reply in replies)[201] == 1
    assert {reply.status for reply in replies} <= {200, 201, 409}
    assert all(reply.headers["Retry-After"] for reply in replies if reply.status == 409)
    (first,) = (reply.body for reply in replies if reply.status == 201)
    again = [patiently(lambda: client.pay(1250, key=key)) for _ in range(10)]
    assert all((reply.status, reply.body) == (200, first) for reply in again)
    assert all(reply.headers["Idempotency-Replayed"] == "true" for reply in again)
    assert all(reply.body == first for reply in replies if reply.status == 200)
    assert Transaction.objects.filter(merchant=client.merchant).count() == 1
    assert [record["amount"] for record in gateway.records() if record["key"] == gateway_key(first["id"])] == [1250]
    check_books(gateway, client.merchant)
    wait_until(lambda: counters_equal_rows(platform), what="counters equal rows")


def test_fifty_requests_whose_answer_is_lost_are_one_payment(client, gateway):
    key = secrets.token_hex(12)

    replies = at_once([lambda: client.pay(1922, key=key)] * 50)

    assert {reply.status for reply in replies} <= {200, 202, 409}
    settled(client.merchant)
    assert client.pay(1922, key=key).body["status"] == "succeeded"
    assert Transaction.objects.filter(merchant=client.merchant).count() == 1
    check_books(gateway, client.merchant)


ALTERED = {
    "amount": 1251,
    "currency": "USD",
    "customer": "c_2",
    "description": "another",
    "reference": "order-8",
    "metadata": {"a": "2"},
    "payment_method": {"type": "card", "token": "tok_other"},
}


@pytest.mark.parametrize("field", ALTERED)
def test_an_altered_body_is_refused_and_nothing_changes(client, gateway, field):
    body = {
        "amount": 1250,
        "currency": "EUR",
        "customer": "c_1",
        "description": "one",
        "reference": "order-7",
        "metadata": {"a": "1"},
        "payment_method": {"type": "card", "token": "tok_visa"},
    }
    assert client.post("/v1/transactions", body, key="k-1").status == 201
    before, moved = stored(client), gateway.totals()

    replies = at_once([lambda: client.post("/v1/transactions", {**body, field: ALTERED[field]}, key="k-1")] * 4)

    for reply in replies:
        assert (reply.status, reply.body["code"], reply.body["param"]) == (422, "idempotency_key_reused", field)
    assert (stored(client), gateway.totals()) == (before, moved)


def test_an_altered_body_is_refused_while_the_first_is_in_flight(client, gateway):
    gateway.profile(latency_ms=300)

    replies = at_once([partial(client.pay, amount, key="k-1") for amount in range(1000, 1020)])

    assert Counter(reply.status for reply in replies) == {201: 1, 422: 19}
    check_books(gateway, client.merchant)


def test_single_and_batch_requests_with_the_same_keys_are_one_payment_each(client, gateway):
    keys = [f"k-{number}" for number in range(20)]
    items = [{"amount": 1250, "currency": "EUR", "customer": "c_1", "idempotency_key": key} for key in keys]

    def batch(order: list[dict[str, Any]]) -> Reply:
        return client.post("/v1/transactions/batch", {"items": order})

    at_once(
        [
            lambda: batch(items),
            lambda: batch(items[::-1]),
            lambda: batch(items + items),
            *[partial(client.pay, 1250, key=key) for key in keys],
        ]
    )

    settled(client.merchant)
    assert Transaction.objects.filter(merchant=client.merchant).count() == 20
    replay = batch(items)
    assert {result["status_code"] for result in replay.body["results"]} == {200}
    check_books(gateway, client.merchant)


def test_one_key_for_a_payment_and_a_refund_is_one_of_them(client, gateway):
    paid = client.pay(1000).body["id"]

    for number in range(5):
        key = f"both-{number}"
        replies = at_once([partial(client.pay, 100, key=key), partial(client.refund, paid, 100, key=key)])
        assert sorted(reply.status for reply in replies) == [201, 422]

    assert IdempotencyKey.objects.filter(merchant_id=client.merchant.pk).count() == 6
    check_books(gateway, client.merchant)


def test_keys_of_two_merchants_have_nothing_to_do_with_each_other(make_client, gateway):
    clients = [make_client(), make_client()]

    replies = at_once([partial(client.pay, 1250, key="same") for client in clients])

    assert [reply.status for reply in replies] == [201, 201]
    check_books(gateway, *(client.merchant for client in clients))


# --- Refunds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [0, 200])
def test_racing_refunds_never_exceed_the_payment(client, gateway, latency):
    paid = client.pay(1050).body["id"]
    gateway.profile(latency_ms=latency)

    refunds = [partial(client.refund, paid, 100, key=f"k-{number}") for number in range(30)]
    replies = at_once([partial(as_advised, refund) for refund in refunds])

    assert Counter(reply.status == 422 for reply in replies) == {False: 10, True: 20}
    assert {reply.status for reply in replies} <= {200, 201, 422}
    assert {reply.body["code"] for reply in replies if reply.status == 422} == {"amount_exceeds_remaining"}
    assert client.get(f"/v1/transactions/{paid}").body["amount_refunded"] == 1000
    assert sum(record["amount"] for record in gateway.records() if record["charge"] == gateway_key(paid)) == 1000
    check_books(gateway, client.merchant)


def test_refunds_whose_turn_comes_too_late_store_nothing_and_can_be_repeated(client, gateway):
    """Each waits with a connection, and those behind them for one: for three seconds, then the answer is 503."""
    paid = client.pay(1050).body["id"]
    refunds = [partial(client.refund, paid, 100, key=f"k-{number}") for number in range(30)]
    refused = Signal()

    def refund(call: Call) -> Reply:
        reply = call()
        if reply.status == 503:
            refused.set()
        return reply

    with open_connection("holds the payment") as holding, ThreadPoolExecutor(1) as threads:
        with holding.transaction():
            holding.execute("SELECT FROM payments_transaction WHERE id = %s FOR UPDATE", [paid])
            waiting = threads.submit(at_once, [partial(refund, call) for call in refunds])
            assert refused.wait(30)
        first = waiting.result(30)
    late = [reply for reply in first if reply.status == 503]
    assert {reply.status for reply in first} <= {201, 202, 422, 503}
    assert all((reply.body["code"], reply.headers["Retry-After"]) == ("database_unavailable", "1") for reply in late)

    replies = [patiently(call) for call in refunds]
    assert Counter(reply.status == 422 for reply in replies) == {False: 10, True: 20}
    check_books(gateway, client.merchant)


def test_racing_refunds_of_all_that_is_left_are_one(client, gateway):
    paid = client.pay(1050).body["id"]

    refunds = [partial(client.refund, paid, key=f"k-{number}") for number in range(20)]
    replies = at_once([partial(as_advised, refund) for refund in refunds])

    assert Counter(reply.status == 422 for reply in replies) == {False: 1, True: 19}
    assert {reply.status for reply in replies} <= {200, 201, 422}
    check_books(gateway, client.merchant)


def test_racing_refunds_with_one_key_are_one(client, gateway):
    paid = client.pay(1050).body["id"]

    refund = partial(client.refund, paid, 100, key="k-1")
    replies = at_once([partial(as_advised, refund)] * 30)

    assert {reply.status for reply in replies} <= {200, 201, 409}
    assert Counter(reply.status for reply in replies)[201] == 1
    assert client.get(f"/v1/transactions/{paid}").body["amount_refunded"] == 100
    check_books(gateway, client.merchant)


def test_a_refund_whose_answer_is_lost_keeps_its_amount_reserved(client, gateway):
    paid = client.pay(2000).body["id"]

    assert client.refund(paid, 1922).status == 202
    assert client.refund(paid, 100).status == 422

    settled(client.merchant)
    assert client.get(f"/v1/transactions/{paid}").body["amount_refunded"] == 1922
    check_books(gateway, client.merchant)


def test_a_refund_that_was_never_made_gives_its_amount_back(client, gateway):
    paid = client.pay(2000).body["id"]

    assert client.refund(paid, 1924).status == 202
    settled(client.merchant)

    assert client.refund(paid, 2000).status == 201
    check_books(gateway, client.merchant)


def test_racing_refunds_that_fail_in_every_way_keep_the_books_right(client, gateway):
    paid = client.pay(9000).body["id"]
    amounts = [100, 901, 911, 912, 913, 922, 924, 300] * 3

    refunds = [partial(client.refund, paid, amount, key=f"k-{number}") for number, amount in enumerate(amounts)]
    replies = at_once([partial(as_advised, refund) for refund in refunds])

    assert {reply.status for reply in replies} <= {200, 201, 202, 422}
    settled(client.merchant)
    check_books(gateway, client.merchant)


BLOCKS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)))"


def test_a_refund_whose_lease_goes_to_another_process_is_left_to_that_process(client, gateway):
    paid = UUID(client.pay(1050).body["id"])
    request = Request(client.merchant.pk, paid, "k-1", RefundInput(), "api")
    refund, token, actor = take_key_and_begin(Refund, begin_refund, request).args
    lease = Unresolved.objects.filter(resource_id=refund.id)

    with open_connection("another process") as other, ThreadPoolExecutor(1) as threads:
        with other.transaction():
            acquire = "UPDATE payments_unresolved SET lease_token = %s WHERE resource_id = %s"
            other.execute(acquire, [uuid4(), refund.id])
            approved = Answer("approved", None, "gw_1")
            settling = threads.submit(in_thread(settle_refund), refund.id, token, approved, actor=actor)
            wait_until(lambda: fetch_one(BLOCKS, [other.info.backend_pid])[0], what="the first waits for its lease")
        assert settling.result(30).status == "processing"

    assert Refund.objects.get(id=refund.id).status == "processing"
    assert lease.exclude(lease_token=token).update(lease_until=Now()) == 1  # the other process ends: it is resolved
    settled(client.merchant)
    assert Refund.objects.get(id=refund.id).status == "failed"
    check_books(gateway, client.merchant)


# --- Resolvers ---------------------------------------------------------------------------------------------


def test_two_workers_settle_each_payment_once(client, gateway, platform, tmp_path):
    port = free_port()
    env = {**platform.env, "WORKER_METRICS_BIND": f"127.0.0.1:{port}"}
    with running(platform.worker.command, env, log=tmp_path / "log", ready=lambda: answers(port, "/metrics")):
        at_once([partial(client.pay, amount) for amount in (1922, 1924) * 4])
        settled(client.merchant)

    check_books(gateway, client.merchant)
    assert Event.objects.filter(transaction__merchant=client.merchant, actor="resolver").count() == 8
    # The other's rows are the other's to export.
    wait_until(lambda: counters_equal_rows(platform), what="counters equal rows")
