"""A merchant's server that is down, in compressed time: the pauses are shorter by a factor; no due time is moved."""

import time
from itertools import pairwise

import pytest
from standardwebhooks import Webhook

from fintech.testing.processes import wait_until
from payments.models import WebhookAttempt, WebhookEndpoint
from payments.tests.webhooks.receiver import Receiver, answering, running_receiver
from payments.webhooks import retries
from payments.webhooks.delivery import Deliverer
from payments.webhooks.endpoints import create_endpoint, valid_secrets
from payments.webhooks.retries import DISABLED_AFTER, JITTER, PAUSED_AFTER_FAILURES, PAUSES

HOUR_SECONDS = 3600
FACTOR = 720  # an hour is 5 s
# How late a turn may be, on a machine with other work.
LATE_SECONDS = 2.0


@pytest.fixture
def factor() -> float:
    return FACTOR


@pytest.fixture(autouse=True)
def _compressed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Let each pause of a failing endpoint, and the time until it is disabled, pass faster by a factor."""
    monkeypatch.setattr(retries, "PAUSES", tuple(pause / factor for pause in PAUSES))
    monkeypatch.setattr(retries, "DISABLED_AFTER", DISABLED_AFTER / factor)


def take_turns(deliverer: Deliverer, receiver: Receiver, number: int) -> None:
    """Take the worker's turns until the receiver has so many requests."""

    def has_arrived() -> bool:
        deliverer.start_turns()
        return len(receiver.received) >= number

    wait_until(has_arrived, 60, lambda: f"{number} requests, only {len(receiver.received)}")
    deliverer.wait()


def statuses(endpoint: WebhookEndpoint) -> set[str]:
    return set(endpoint.deliveries.values_list("status", flat=True))


def test_after_an_hour_without_a_receiver_every_event_arrives_once_and_in_order(endpoint, receiver, queue, deliverer):
    with running_receiver() as healthy:
        other, _ = create_endpoint(merchant_id=endpoint.merchant_id, url=healthy.url())
        receiver.answer = answering(503)
        began, queued = time.monotonic(), 0
        while time.monotonic() < began + HOUR_SECONDS / FACTOR:
            queued += len(queue(endpoint, other, number=10))
            take_turns(deliverer, healthy, queued)
        in_vain = len(receiver.received)
        receiver.received.clear()
        receiver.answer = answering(200)

        take_turns(deliverer, receiver, queued)

    accepted = [request.headers["webhook-id"] for request in receiver.received]
    expected = [str(one) for one in endpoint.deliveries.order_by("id").values_list("event_id", flat=True)]
    assert accepted == expected
    assert statuses(endpoint) == statuses(other) == {"delivered"}
    assert [request.headers["webhook-id"] for request in healthy.received] == expected
    # The pauses within the hour: 5 s, 5 minutes and 30 minutes after the first three failures, and the first try again.
    assert PAUSED_AFTER_FAILURES < in_vain <= PAUSED_AFTER_FAILURES + 3
    verifier = Webhook(valid_secrets(endpoint)[0])
    for request in receiver.received:
        verifier.verify(request.body, request.headers)
    _assert_paused_as_promised(endpoint)


def _assert_paused_as_promised(endpoint: WebhookEndpoint) -> None:
    """Compare the times between the tries of the first event with the table of pauses."""
    first = endpoint.deliveries.order_by("id").first()
    tries = list(WebhookAttempt.objects.filter(delivery=first).order_by("id").values_list("at", "outcome"))
    assert [outcome for _, outcome in tries] == ["refused"] * (len(tries) - 1) + ["delivered"]
    for pause, ((earlier, _), (later, _)) in zip(PAUSES, pairwise(tries), strict=False):
        passed = (later - earlier).total_seconds()
        assert pause / FACTOR * (1 - JITTER) - 0.05 <= passed <= pause / FACTOR * (1 + JITTER) + LATE_SECONDS


@pytest.mark.parametrize("factor", [43_200])  # five days are 10 s
def test_after_five_days_the_endpoint_is_disabled_and_its_owner_is_informed(endpoint, receiver, queue, deliverer):
    with running_receiver() as other:
        create_endpoint(merchant_id=endpoint.merchant_id, url=other.url(), event_types=["webhook_endpoint.disabled"])
        receiver.answer = answering(500)
        began = time.monotonic()
        queue(endpoint, number=20)

        take_turns(deliverer, other, 1)

        assert time.monotonic() - began >= 10
    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_because) == (False, "failing")
    assert statuses(endpoint) == {"failed"}
    (announcement,) = other.received
    assert announcement.event["type"] == "webhook_endpoint.disabled"
    assert announcement.event["data"] == {
        "id": str(endpoint.pk),
        "url": endpoint.url,
        "enabled": False,
        "disabled_because": "failing",
    }
