"""Retries, order, isolation and disabling, with a real receiver that fails in every way."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from itertools import count
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models import F, Max
from django.db.transaction import atomic
from django.utils import timezone
from standardwebhooks import Webhook

from fintech.testing.processes import is_over
from payments.errors import NotFound
from payments.metrics import WEBHOOK_OUTCOME
from payments.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from payments.tests.webhooks.receiver import answering, running_receiver
from payments.webhooks import endpoints
from payments.webhooks.delivery import Deliverer
from payments.webhooks.endpoints import change_endpoint, create_endpoint, rotate_secret
from payments.webhooks.leases import acquire_endpoints, read_turn, release, store_result
from payments.webhooks.redelivery import redeliver_event, send_test_event
from payments.webhooks.results import Result
from payments.webhooks.retries import JITTER, PAUSED_AFTER_FAILURES, PAUSES, pause_after
from payments.webhooks.transport import MAX_ANSWER_BYTES, Transport


def now_due(endpoint: WebhookEndpoint) -> None:
    """Let the pauses of an endpoint pass."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(retry_at=None)
    endpoint.deliveries.filter(status="pending").update(due_at=timezone.now() - timedelta(seconds=1))


def outcomes(endpoint: WebhookEndpoint) -> list[str]:
    return list(WebhookAttempt.objects.filter(delivery__endpoint=endpoint).values_list("outcome", flat=True))


def last_event(endpoint: WebhookEndpoint) -> UUID:
    return endpoint.deliveries.order_by("id").last().event_id


def pending_ids(endpoint: WebhookEndpoint) -> list[int]:
    return list(endpoint.deliveries.filter(status="pending").order_by("id").values_list("pk", flat=True))


def give_up_all() -> None:
    while endpoints.give_up_waiting():
        pass


def in_a_thread(call: Callable[[], object]) -> None:
    """Make a call on another connection to the database."""

    def run() -> None:
        try:
            call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()


def numbers(receiver) -> list[int]:
    return [request.event["data"]["number"] for request in receiver.received]


def test_an_event_that_is_refused_is_tried_again_after_each_pause_and_then_given_up(receiver, endpoint, queue, deliver):
    receiver.answer = answering(500, b"broken")
    queue(endpoint)

    for tries in range(1, len(PAUSES) + 1):
        before = timezone.now()
        deliver()
        delivery = endpoint.deliveries.get()
        assert (delivery.status, delivery.tries) == ("pending", tries)
        pause = (delivery.due_at - before).total_seconds()
        assert PAUSES[tries - 1] * (1 - JITTER) <= pause <= PAUSES[tries - 1] * (1 + JITTER) + 5
        now_due(endpoint)
    deliver()

    assert endpoint.deliveries.get().status == "failed"
    assert outcomes(endpoint) == ["refused"] * (len(PAUSES) + 1)
    assert {request.headers["webhook-id"] for request in receiver.received} == {str(endpoint.deliveries.get().event_id)}


def test_the_pauses_differ_so_that_endpoints_do_not_return_together():
    pauses = {pause_after(3) for _ in range(20)}

    assert len(pauses) > 10


def test_an_endpoint_receives_its_events_in_their_order(receiver, endpoint, queue, deliver):
    queue(endpoint, number=120)

    deliver()

    assert numbers(receiver) == list(range(120))


def test_an_event_that_fails_is_overtaken_and_delays_no_other(receiver, endpoint, queue, deliver):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        answering(500 if receiver.received[-1].event["data"]["number"] == 1 else 200)(handler)

    receiver.answer = answer
    queue(endpoint, number=4)

    deliver()

    assert numbers(receiver) == [0, 1, 2, 3]
    assert outcomes(endpoint) == ["delivered", "refused", "delivered", "delivered"]


def test_an_endpoint_that_is_down_pauses_and_gets_all_events_in_order_after_its_return(
    receiver, endpoint, queue, deliver
):
    receiver.answer = answering(503)
    queue(endpoint, number=20)

    deliver()
    assert numbers(receiver) == list(range(PAUSED_AFTER_FAILURES))
    endpoint.refresh_from_db()
    assert endpoint.retry_at == endpoint.deliveries.order_by("id")[0].due_at

    receiver.received.clear()
    deliver()
    assert receiver.received == []  # it rests

    receiver.answer = answering(200)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(retry_at=timezone.now())
    first = endpoint.deliveries.order_by("id")[0]
    WebhookDelivery.objects.filter(pk=first.pk).update(due_at=timezone.now())
    deliver()
    assert numbers(receiver) == list(range(20))
    assert set(endpoint.deliveries.values_list("status", flat=True)) == {"delivered"}


def test_an_endpoint_that_flaps_gets_every_event(receiver, endpoint, queue, deliver):
    turns = count()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        answering(200 if next(turns) % 2 else 500)(handler)

    receiver.answer = answer
    queue(endpoint, number=10)

    for _ in range(8):
        deliver()
        now_due(endpoint)

    assert set(endpoint.deliveries.values_list("status", flat=True)) == {"delivered"}
    assert set(numbers(receiver)) == set(range(10))


def test_a_slow_endpoint_delays_no_other(merchant, receiver, endpoint, queue, deliverer):
    with running_receiver() as slow:

        def answer_late(handler: BaseHTTPRequestHandler) -> None:
            time.sleep(3)
            answering(200)(handler)

        slow.answer = answer_late
        sluggish, _ = create_endpoint(merchant_id=merchant.pk, url=slow.url())
        queue(sluggish, endpoint, number=30)

        deliverer.start_turns()
        start = time.monotonic()
        receiver.wait_for(30)

        assert not is_over(start, 3)
        change_endpoint(sluggish, is_enabled=False)


def test_an_answer_that_never_comes_is_a_timeout(queue, receiver, endpoint, deliver_by):
    receiver.answer = lambda handler: time.sleep(2)
    queue(endpoint)

    deliver_by(lambda: Transport(timeout=0.3))

    assert outcomes(endpoint) == ["timeout"]


def test_an_answer_that_drips_is_a_timeout(queue, receiver, endpoint, deliver_by):
    def drip(handler: BaseHTTPRequestHandler) -> None:
        for _ in range(20):
            handler.wfile.write(b"H")
            time.sleep(0.1)

    receiver.answer = drip
    queue(endpoint)

    deliver_by(lambda: Transport(timeout=0.5))

    assert outcomes(endpoint) in (["timeout"], ["connection"])


def test_a_large_answer_is_cut_and_not_read(queue, receiver, endpoint, deliver):
    receiver.answer = answering(200, b"x" * 30_000_000)
    queue(endpoint, number=2)

    start = time.monotonic()
    deliver()

    assert not is_over(start, 5)
    attempts = WebhookAttempt.objects.filter(delivery__endpoint=endpoint)
    assert [(attempt.outcome, attempt.answer) for attempt in attempts] == [("delivered", "x" * MAX_ANSWER_BYTES)] * 2


def test_a_redirect_is_not_followed(receiver, endpoint, queue, deliver):
    with running_receiver() as elsewhere:
        receiver.answer = answering(307, Location=elsewhere.url())
        queue(endpoint)

        deliver()

        assert outcomes(endpoint) == ["redirect"]
        assert elsewhere.received == []


def test_a_closed_port_is_a_failure_of_the_connection(merchant, queue, deliver):
    with running_receiver() as gone:
        pass
    endpoint, _ = create_endpoint(merchant_id=merchant.pk, url=gone.url())
    queue(endpoint)

    deliver()

    assert outcomes(endpoint) == ["connection"]


def test_410_disables_at_once_and_is_announced_to_the_merchants_other_endpoints(
    merchant, receiver, endpoint, queue, deliver
):
    with running_receiver() as other:
        create_endpoint(merchant_id=merchant.pk, url=other.url(), event_types=["webhook_endpoint.disabled"])
        receiver.answer = answering(410)
        queue(endpoint, number=3)

        deliver()

        endpoint.refresh_from_db()
        assert (endpoint.is_enabled, endpoint.disabled_because) == (False, "gone")
        assert len(receiver.received) == 1
        assert set(endpoint.deliveries.values_list("status", flat=True)) == {"failed"}
        (announcement,) = other.received
        assert announcement.event["type"] == "webhook_endpoint.disabled"
        assert announcement.event["data"]["id"] == str(endpoint.pk)


def test_an_endpoint_that_fails_for_five_days_is_disabled(receiver, endpoint, queue, deliver):
    receiver.answer = answering(500)
    queue(endpoint)
    deliver()
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=timezone.now() - timedelta(days=5, seconds=1))
    now_due(endpoint)

    deliver()

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_because) == (False, "failing")
    assert WebhookEvent.objects.filter(merchant=endpoint.merchant, type="webhook_endpoint.disabled").count() == 1


def test_a_large_backlog_of_a_disabled_endpoint_is_given_up_in_parts(endpoint, queue, monkeypatch):
    """One statement for 860,000 deliveries took longer than it may, so their endpoint was never disabled."""
    give_up_all()
    monkeypatch.setattr(endpoints, "PART", 5)
    queue(endpoint, number=12)

    change_endpoint(endpoint, is_enabled=False)

    left = [pending_ids(endpoint)]
    while endpoints.give_up_waiting():
        left.append(pending_ids(endpoint))
    ids = sorted(endpoint.deliveries.values_list("pk", flat=True))
    assert left == [ids[5:], ids[10:], []]


def test_an_event_that_is_queued_while_its_endpoint_is_disabled_is_given_up(endpoint, queue):
    """A transaction that queues still sees the endpoint enabled, and does not wait for the one that disables it."""
    with atomic():
        queue(endpoint)
        in_a_thread(lambda: change_endpoint(endpoint, is_enabled=False))
    assert pending_ids(endpoint)

    give_up_all()

    assert set(endpoint.deliveries.values_list("status", flat=True)) == {"failed"}


def test_a_result_that_comes_after_the_endpoint_was_disabled_does_not_disable_it_again(endpoint, queue, monkeypatch):
    monkeypatch.setattr(endpoints, "PART", 1)
    queue(endpoint, number=2)
    (lease,) = [lease for lease in acquire_endpoints(10) if lease.endpoint_id == endpoint.pk]
    turn = read_turn(lease)
    change_endpoint(endpoint, is_enabled=False)

    assert not store_result(lease, turn.messages[1].delivery_id, Result("gone", 1, 410))

    endpoint.refresh_from_db()
    assert endpoint.disabled_because == "merchant"
    assert WebhookEvent.objects.filter(merchant=endpoint.merchant, type="webhook_endpoint.disabled").count() == 1


def test_a_failure_of_the_former_url_says_nothing_about_the_new_one(endpoint, receiver, queue):
    """A 410 from the former server disabled the endpoint, and gave up all that waited for the new one."""
    queue(endpoint, number=2)
    (lease,) = [lease for lease in acquire_endpoints(10) if lease.endpoint_id == endpoint.pk]
    turn = read_turn(lease)
    change_endpoint(endpoint, url=receiver.url("/new"))

    assert not store_result(lease, turn.messages[0].delivery_id, Result("gone", 1, 410))

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.failures) == (True, 0)
    assert set(endpoint.deliveries.values_list("status", "tries")) == {("pending", 0)}
    assert outcomes(endpoint) == ["gone"]


def test_a_changed_url_gets_all_events_but_the_one_under_way(endpoint, receiver, queue, deliver):
    """A turn sent up to 50 events to the former URL."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if len(receiver.received) == 1:
            in_a_thread(lambda: change_endpoint(endpoint, url=receiver.url("/new")))
        answering(200)(handler)

    receiver.answer = answer
    queue(endpoint, number=4)

    deliver()

    assert [request.path for request in receiver.received] == ["/hook", "/new", "/new", "/new"]
    assert numbers(receiver) == [0, 1, 2, 3]


def test_a_url_that_changes_before_the_turn_begins_is_not_used(endpoint, receiver, queue):
    queue(endpoint)
    (lease,) = [lease for lease in acquire_endpoints(10) if lease.endpoint_id == endpoint.pk]

    change_endpoint(endpoint, url=receiver.url("/new"))

    assert read_turn(lease) is None


def test_a_success_ends_the_time_of_failing(receiver, endpoint, queue, deliver):
    receiver.answer = answering(500)
    queue(endpoint)
    deliver()
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=timezone.now() - timedelta(days=6))
    now_due(endpoint)
    receiver.answer = answering(204)

    deliver()

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.failures, endpoint.failing_since) == (True, 0, None)


def test_the_time_of_failing_ends_with_the_last_try_of_all_that_waits(receiver, endpoint, queue, deliver):
    """After a quiet time, one failure disabled the endpoint at once, without a second try."""
    receiver.answer = answering(500)
    for quiet in (timedelta(), timedelta(days=6)):
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=F("failing_since") - quiet)
        queue(endpoint)
        for _ in PAUSES:
            deliver()
            now_due(endpoint)
        endpoint.refresh_from_db()
        assert (endpoint.is_enabled, endpoint.failures) == (True, len(PAUSES))
        deliver()

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.failures, endpoint.failing_since, endpoint.retry_at) == (True, 0, None, None)


def test_an_endpoint_is_disabled_by_the_last_try_too(receiver, endpoint, queue, deliver):
    receiver.answer = answering(500)
    queue(endpoint)
    endpoint.deliveries.update(tries=len(PAUSES))
    since = timezone.now() - timedelta(days=5, seconds=1)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failures=9, failing_since=since)

    deliver()

    endpoint.refresh_from_db()
    assert (endpoint.disabled_because, endpoint.failing_since) == ("failing", since)


def test_retry_after_is_obeyed_by_the_whole_endpoint(receiver, endpoint, queue, deliver):
    receiver.answer = answering(429, Retry_After="120")
    queue(endpoint, number=5)

    deliver()

    assert len(receiver.received) == 1
    endpoint.refresh_from_db()
    wait = (endpoint.retry_at - timezone.now()).total_seconds()
    assert 100 < wait <= 120
    assert endpoint.deliveries.order_by("id")[0].due_at >= endpoint.retry_at - timedelta(seconds=1)


def test_a_short_retry_after_does_not_end_the_pause_of_an_endpoint_that_is_down(receiver, endpoint, queue, deliver):
    """Each of the waiting events was sent to it once, and later ones arrived first after its return."""
    receiver.answer = answering(503, Retry_After="0")
    queue(endpoint, number=20)

    deliver()

    assert numbers(receiver) == list(range(PAUSED_AFTER_FAILURES))
    endpoint.refresh_from_db()
    assert endpoint.retry_at == endpoint.deliveries.order_by("id")[0].due_at


@pytest.mark.parametrize("ask", [send_test_event, lambda endpoint: redeliver_event(endpoint, last_event(endpoint))])
def test_a_merchant_who_asks_for_an_event_does_not_wait_for_the_end_of_the_pause(
    receiver, endpoint, queue, deliver, ask
):
    receiver.answer = answering(503)
    queue(endpoint, number=5)
    deliver()
    receiver.received.clear()
    receiver.answer = answering(200)

    ask(endpoint)
    deliver()

    assert (
        len(receiver.received) == endpoint.deliveries.filter(status="delivered").count() == endpoint.deliveries.count()
    )
    endpoint.refresh_from_db()
    assert endpoint.retry_at is None


def test_a_redelivery_that_is_refused_does_not_end_the_pause(receiver, endpoint, queue, deliver):
    receiver.answer = answering(503)
    queue(endpoint, number=5)
    deliver()
    paused = WebhookEndpoint.objects.get(pk=endpoint.pk).retry_at

    with pytest.raises(NotFound):
        redeliver_event(endpoint, uuid4())

    assert paused is not None
    assert WebhookEndpoint.objects.get(pk=endpoint.pk).retry_at == paused


def test_in_a_rotation_both_secrets_verify_what_arrives(merchant, receiver, queue, deliver):
    endpoint, former = create_endpoint(merchant_id=merchant.pk, url=receiver.url())
    newer = rotate_secret(endpoint)
    queue(endpoint)

    deliver()

    (request,) = receiver.received
    for secret in (former, newer):
        assert Webhook(secret).verify(request.body, request.headers)


def test_a_worker_that_dies_before_it_stores_the_result_makes_the_event_arrive_twice(
    receiver, endpoint, queue, deliver
):
    (event,) = queue(endpoint)
    leases = acquire_endpoints(10)
    (lease,) = [lease for lease in leases if lease.endpoint_id == endpoint.pk]
    assert read_turn(lease) is not None  # it sends, and dies

    deliver()
    assert receiver.received == []  # the lease still runs

    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(lease_until=timezone.now())
    deliver()
    assert [request.headers["webhook-id"] for request in receiver.received] == [str(event.pk)]


def test_a_worker_that_lost_its_lease_sends_no_more(receiver, endpoint, queue, deliver):
    queue(endpoint, number=2)
    (lease,) = [lease for lease in acquire_endpoints(10) if lease.endpoint_id == endpoint.pk]
    turn = read_turn(lease)
    assert turn is not None
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(lease_until=timezone.now())
    deliver()

    assert not store_result(lease, turn.messages[0].delivery_id, Result("refused", 1, 500))
    assert read_turn(lease) is None
    assert set(endpoint.deliveries.values_list("status", flat=True)) == {"delivered"}


def test_the_endpoint_whose_last_turn_is_longest_ago_comes_first(merchant, queue):
    """Otherwise those that always have something due could take all turns."""
    waiting, busy = (create_endpoint(merchant_id=merchant.pk, url=f"https://127.0.0.1/{n}")[0] for n in range(2))
    queue(waiting, busy)
    leases = {lease.endpoint_id: lease for lease in acquire_endpoints(10)}
    WebhookEndpoint.objects.filter(pk=waiting.pk).update(lease_until=timezone.now())  # its worker died

    release(leases[busy.pk])

    assert [lease.endpoint_id for lease in acquire_endpoints(1)] == [waiting.pk]


def test_workers_share_the_endpoints_and_send_nothing_twice(merchant, queue):
    with running_receiver() as receiver:
        endpoints = [create_endpoint(merchant_id=merchant.pk, url=receiver.url(f"/{n}"))[0] for n in range(8)]
        queue(*endpoints, number=20)
        workers = [Deliverer() for _ in range(3)]
        for _ in range(10):
            for worker in workers:
                worker.start_turns()
            for worker in workers:
                worker.wait()
        for worker in workers:
            worker.stop()

        assert len(receiver.received) == 160
        for number in range(8):
            sent = [one.event["data"]["number"] for one in receiver.received if one.path == f"/{number}"]
            assert sent == list(range(20))


def test_the_counters_equal_the_stored_attempts(receiver, endpoint, queue, deliver):
    def counted() -> dict[str, float]:
        return {outcome: counter._value.get() for outcome, counter in WEBHOOK_OUTCOME.items()}

    before = counted()
    newest = WebhookAttempt.objects.aggregate(Max("pk", default=0))["pk__max"]
    turns = count()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        answering(200 if next(turns) % 3 else 500)(handler)

    receiver.answer = answer
    queue(endpoint, number=9)

    deliver()

    # Webhooks that earlier tests left may be due, too.
    stored = list(WebhookAttempt.objects.filter(pk__gt=newest).values_list("outcome", flat=True))
    after = counted()
    assert set(outcomes(endpoint)) == {"delivered", "refused"}
    assert {name: after[name] - before[name] for name in after} == {name: stored.count(name) for name in after}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_success(receiver, endpoint, queue, deliver, status):
    receiver.answer = answering(status)
    queue(endpoint)

    deliver()

    assert outcomes(endpoint) == ["delivered"]
