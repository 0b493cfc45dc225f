"""Processes die in the middle of a 3-D Secure challenge, a review or a dispute: each is settled once."""

import os
import signal
from collections.abc import Iterator

import pytest
from django.db import connection

from fintech.testing.processes import wait_until
from loadtests.tests.simulator import FakeStripe, Simulator
from payments.models import Authentication, Capture, Dispute, LedgerLeg, Merchant, Void
from payments.tests.authentication.conftest import BACK, CHALLENGED, HOST, answer_challenge
from payments.tests.crash.conftest import SECRET, at_both
from payments.tests.crash.test_crash import Scene, lock, platform, scene  # noqa: F401 - its fixtures
from payments.tests.services.acquirers import AtSimulator, AtStripe

pytestmark = [pytest.mark.processes, at_both]


@pytest.fixture
def shop(scene: Scene) -> Iterator[Scene]:  # noqa: F811
    """The scene's merchant lists a return host, and holds payments with the token tok_risky for a review."""
    Merchant.objects.filter(pk=scene.client.merchant.pk).update(return_hosts=[HOST], review_threshold=0.5)
    yield scene
    scene.gateway.profile(late_reply_ratio=0)


def challenge(shop: Scene) -> Authentication:
    """Return the open challenge of the payment, once it is stored."""
    found = Authentication.objects.filter(transaction=shop.payment, decided_at=None)
    return wait_until(found.first, what="the challenge is stored")


def wait_for_a_lock() -> None:
    """Wait until a process of the platform waits for a row that the test has locked."""
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def is_waiting() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(waits)
            return cursor.fetchone() is not None

    wait_until(is_waiting, what="a process waits for the lock")


def test_killed_when_the_gateway_has_opened_a_challenge_and_its_answer_is_on_its_way(shop):
    shop.gateway.profile(late_reply_ratio=1)
    asked = shop.ask(shop.client.pay, CHALLENGED, key="k-1", return_url=BACK)
    wait_until(lambda: shop.at_the_gateway(shop.payment) == "requires_action", what="the gateway has a challenge")
    os.kill(shop.web(), signal.SIGKILL)

    assert asked.result(10) is None
    shop.gateway.profile(late_reply_ratio=0)
    shop.ends_right()  # the resolver cancels a payment whose challenge no customer has seen
    assert shop.history == ["processing", "failed"]
    assert shop.at_the_gateway(shop.payment) == "cancelled"


def test_the_worker_dies_while_it_settles_a_challenge(shop):
    reply = shop.client.pay(CHALLENGED, return_url=BACK)
    assert reply.body["status"] == "requires_action"
    with lock("SELECT 1 FROM payments_transaction WHERE id = %s FOR UPDATE", shop.payment.pk):
        answer_challenge(challenge(shop).url, "accept")
        wait_for_a_lock()
        shop.platform.worker.kill()
        shop.platform.start()

    wait_until(lambda: shop.payment.status == "succeeded", what="the payment succeeds")
    shop.ends_right()
    assert shop.history == ["processing", "requires_action", "authentication_authenticated", "succeeded"]


@pytest.mark.parametrize(
    ("decision", "model", "status"), [("accept", Capture, "succeeded"), ("refuse", Void, "voided")]
)
def test_killed_when_a_review_is_decided_and_the_gateways_answer_is_on_its_way(shop, decision, model, status):
    risky = {"type": "card", "token": "tok_risky", "country": "DE"}
    payment = shop.client.pay(1250, payment_method=risky).body
    assert payment["status"] == "in_review"
    shop.gateway.profile(late_reply_ratio=1)
    path = f"/v1/transactions/{payment['id']}/review"
    asked = shop.ask(shop.client.post, path, {"decision": decision}, key="k-2")
    shop.wait_until_the_gateway_has_done(model, payment["id"])
    os.kill(shop.web(), signal.SIGKILL)

    assert asked.result(10) is None
    shop.gateway.profile(late_reply_ratio=0)
    shop.ends_right()
    assert shop.payment.status == status
    assert shop.client.post(path, {"decision": decision}, key="k-2").status == 200


def test_the_worker_dies_while_it_applies_a_dispute(shop, gateway: Simulator, settings):
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    acquirer = AtStripe(gateway) if isinstance(gateway, FakeStripe) else AtSimulator(gateway)
    sender = acquirer.sender()
    payment = shop.client.pay(5000).body["id"]
    acquirer.news()
    with lock("SELECT 1 FROM payments_transaction WHERE id = %s FOR UPDATE", payment):
        _, events = acquirer.dispute(payment)
        for event in (*events, *acquirer.news()):
            sender.send(*event)
        wait_for_a_lock()
        shop.platform.worker.kill()
        shop.platform.start()

    disputes = Dispute.objects.filter(transaction=payment)
    wait_until(disputes.filter(status="needs_response").first, what="the dispute needs a response")
    shop.ends_right()
    held = LedgerLeg.objects.filter(transaction=payment, account=LedgerLeg.Account.DISPUTES_HELD)
    assert disputes.count() == 1
    assert list(held.values_list("amount", flat=True)) == [5000]
