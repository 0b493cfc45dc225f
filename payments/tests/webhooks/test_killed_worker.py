"""The worker dies between sending an event and storing the result: the event is sent again, and noted once."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psycopg
import pytest

from fintech.testing.processes import wait_until
from loadtests.own_platform import OwnPlatform, own_platform
from payments.tests.webhooks.receiver import Receiver, answering, running_receiver

pytestmark = pytest.mark.processes

TRIED = """
SELECT event_id::text, delivery.status, delivery.tries, count(attempt.id)
FROM payments_webhookdelivery AS delivery
LEFT JOIN payments_webhookattempt AS attempt ON attempt.delivery_id = delivery.id
WHERE endpoint_id = %s GROUP BY delivery.id ORDER BY delivery.id
"""
STORING = """
SELECT pid FROM pg_stat_activity
WHERE datname = 'fintech' AND wait_event_type = 'Lock' AND query LIKE '%%payments_webhook%%'
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPlatform]:
    folder: Path = tmp_path_factory.mktemp("killed")
    with own_platform(folder, postgres={}, workers=1, env={"WEBHOOKS_TO_LOOPBACK": "True"}) as running:
        yield running


@pytest.fixture
def merchants_server(own: OwnPlatform) -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running
    own.query("UPDATE payments_webhookendpoint SET is_enabled = false, disabled_because = 'merchant' RETURNING 1")


def make_endpoint(own: OwnPlatform, receiver: Receiver) -> str:
    body = {"url": receiver.url(), "event_types": ["payment.succeeded"]}
    reply = own.platform.request("POST", "/v1/webhook-endpoints", body, api_key=own.api_key)
    assert reply.status == 201, reply.body
    return str(reply.body["id"])


def kill_worker(own: OwnPlatform) -> None:
    assert own.platform.worker is not None
    own.platform.worker.kill()


def restart_worker(own: OwnPlatform) -> None:
    """Let the dead worker's lease run out, and start another worker."""
    own.query("UPDATE payments_webhookendpoint SET lease_until = now() WHERE is_enabled RETURNING 1")
    own.platform.start()


def assert_sent_again_and_noted_once(own: OwnPlatform, endpoint: str, receiver: Receiver) -> None:
    """Check it for the first of two payments: the second follows it."""
    first, again, second = receiver.wait_for(3, timeout=60)
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    events = [again.headers["webhook-id"], second.headers["webhook-id"]]
    assert len(set(events)) == 2
    noted = [(event, "delivered", 1, 1) for event in events]
    wait_until(lambda: own.query(TRIED, endpoint) == noted, 30, lambda: f"noted: {own.query(TRIED, endpoint)}")
    assert len(receiver.received) == 3


def test_killed_while_the_merchant_has_not_answered(own, merchants_server):
    released = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        released.wait(60)
        handler.close_connection = True

    merchants_server.answer = hold
    endpoint = make_endpoint(own, merchants_server)
    assert own.pay().status == 201
    merchants_server.wait_for(1, timeout=60)

    kill_worker(own)
    released.set()
    merchants_server.answer = answering(200)
    assert own.pay().status == 201
    assert [(status, tries, attempts) for _, status, tries, attempts in own.query(TRIED, endpoint)] == [
        ("pending", 0, 0)
    ]
    restart_worker(own)

    assert_sent_again_and_noted_once(own, endpoint, merchants_server)


def test_killed_between_the_answer_and_its_note(own, merchants_server):
    """A lock keeps the worker from storing, and its session ends with it, as if the whole host were gone."""
    with psycopg.connect(own.server.url("postgres", "fintech")) as lock:

        def lock_and_answer(handler: BaseHTTPRequestHandler) -> None:
            lock.execute("SELECT 1 FROM payments_webhookendpoint FOR UPDATE")
            answering(200)(handler)

        merchants_server.answer = lock_and_answer
        endpoint = make_endpoint(own, merchants_server)
        assert own.pay().status == 201
        [(session,)] = wait_until(lambda: own.query(STORING), 60, what="the worker stores the result")

        kill_worker(own)
        merchants_server.answer = answering(200)
        own.query("SELECT pg_terminate_backend(%s, 10000)", session)
        lock.rollback()

    assert own.pay().status == 201
    restart_worker(own)

    assert_sent_again_and_noted_once(own, endpoint, merchants_server)
