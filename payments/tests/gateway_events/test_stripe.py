"""Events of Stripe: its signature, and its objects as decisions about our operations."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from fintech.env import ANY
from loadtests.tests.simulator import FakeStripe, running
from payments.gateway.registry import gateways
from payments.gateway.routing import Routes
from payments.gateway.stripe.gateway import StripeGateway
from payments.gateway_events.inbox import process
from payments.models import Authentication, GatewayEvent, Refund, Transaction
from payments.schemas import PaymentMethod
from payments.tests.authentication.conftest import BACK, HOST, answer_challenge, poll, state
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

SECRET = "whsec_test"
CARD = PaymentMethod("card", token="pm_card_visa")


def sign(body: bytes, *, at: float | None = None, secret: str = SECRET) -> str:
    moment = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def send(body: bytes, signature: str | None = None) -> Any:
    headers = {"Stripe-Signature": sign(body) if signature is None else signature}
    return Client().post("/gateway/events/stripe", body, content_type="application/json", headers=headers)


def event(event_type: str, item: Any) -> bytes:
    content = {"id": f"evt_{uuid4().hex}", "object": "event", "type": event_type, "data": {"object": item}}
    return json.dumps(content).encode()


def processed(body: bytes) -> str | None:
    """Send an event, process it, and return its outcome."""
    assert send(body).status_code == 200
    stored = GatewayEvent.objects.get(gateway="stripe", identifier=json.loads(body)["id"])
    process(stored)
    stored.refresh_from_db()
    return stored.outcome


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRET = SECRET


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStripe]:
    directory: Path = tmp_path_factory.mktemp("stripe")
    with running(FakeStripe(directory / "stripe.sqlite3")) as started:
        yield started


@pytest.fixture
def stripe_shop(fake: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setitem(gateways.made, "stripe", StripeGateway(fake.url, fake.token))
    monkeypatch.setattr("payments.services.charges.routes", Routes({(ANY, ANY): ("stripe",)}, "simulator"))
    return Shop.open()


def intent_of(fake: FakeStripe, payment: Transaction) -> dict[str, Any]:
    found = fake.request("GET", f"/v1/payment_intents/search?query=metadata%5B'key'%5D:'{payment.gateway_key}'").body
    return dict(found["data"][0])


WRONG_SIGNATURES: dict[str, Callable[[], str]] = {
    "none": lambda: "",
    "no time": lambda: "v1=00",
    "a word as time": lambda: "t=soon,v1=00",
    "of another secret": lambda: sign(b"{}", secret="another"),
    "of another body": lambda: sign(b"other"),
    "of an hour ago": lambda: sign(b"{}", at=time.time() - 3600),
    "of another scheme": lambda: sign(b"{}").replace("v1=", "v0="),
}


@pytest.mark.parametrize("signature", WRONG_SIGNATURES.values(), ids=WRONG_SIGNATURES)
def test_an_event_that_stripe_did_not_sign_now_is_refused(signature):
    answer = send(b"{}", signature())

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_signature")


def test_without_a_secret_every_event_is_refused(settings):
    settings.STRIPE_WEBHOOK_SECRET = ""
    body = event("payment_intent.succeeded", {})

    assert send(body, sign(body, secret="")).status_code == 401


def test_one_of_two_signatures_is_enough_while_secrets_change():
    body = event("test.unknown", {})
    both = sign(body) + ",v1=" + "0" * 64

    assert send(body, both).status_code == 200
    GatewayEvent.objects.filter(identifier=json.loads(body)["id"]).update(
        processed_at=timezone.now(), outcome="ignored"
    )


def test_an_event_is_stored_once():
    body = event("test.unknown", {})

    assert [send(body).json()["duplicate"] for _ in range(2)] == [False, True]
    assert processed(body) == "unknown_type"


@pytest.mark.parametrize("item", [{}, {"id": "pi_1"}, {"id": "pi_1", "object": "payment_intent", "amount": "much"}])
def test_an_object_without_its_fields_is_unreadable(item):
    assert processed(event("payment_intent.succeeded", item)) == "unreadable"


def test_an_unknown_payment_succeeds_by_the_event(stripe_shop, fake):
    payment = stripe_shop.pay(1922, payment_method=CARD).body
    assert payment.status == "unknown"
    intent = intent_of(fake, Transaction.objects.get(id=payment.id))

    body = event("payment_intent.succeeded", intent)

    assert (processed(body), processed(event("payment_intent.succeeded", intent))) == ("applied", "ignored")
    stored = Transaction.objects.get(id=payment.id)
    assert (stored.status, stored.gateway_reference) == ("succeeded", intent["id"])


def test_an_event_about_other_money_is_refused(stripe_shop, fake):
    payment = stripe_shop.pay(1922, payment_method=CARD).body
    intent = intent_of(fake, Transaction.objects.get(id=payment.id))

    assert processed(event("payment_intent.succeeded", intent | {"amount": 1})) == "refused"

    assert Transaction.objects.get(id=payment.id).status == "unknown"
    stripe_shop.resolve()


def test_an_unknown_refund_succeeds_by_the_event(stripe_shop, fake):
    payment = stripe_shop.pay(2000, payment_method=CARD).body
    refund = stripe_shop.refund(payment.id, 922).body
    reference = Transaction.objects.get(id=payment.id).gateway_reference
    (theirs,) = fake.request("GET", f"/v1/refunds?payment_intent={reference}").body["data"]

    assert processed(event("refund.updated", theirs)) == "applied"
    assert Refund.objects.get(id=refund.id).status == "succeeded"


# --- 3-D Secure --------------------------------------------------------------------------------------------------


@pytest.fixture
def secured(stripe_shop: Shop) -> Shop:
    stripe_shop.change_merchant(return_hosts=[HOST])
    return stripe_shop


def challenge(shop: Shop, **fields: Any) -> tuple[Transaction, str]:
    """Make a payment that waits for its customer. Returns its row and the page of the challenge."""
    payment = shop.pay(1941, payment_method=CARD, return_url=BACK, **fields).body
    assert (payment.status, payment.gateway_reference) == ("requires_action", None)
    return Transaction.objects.get(id=payment.id), payment.next_action.url


@pytest.mark.parametrize(("capture", "status"), [(True, "succeeded"), (False, "authorized")])
def test_an_event_lets_the_worker_ask_for_the_end_of_a_challenge(secured, fake, capture, status):
    payment, page = challenge(secured, capture=capture)
    answer_challenge(page, "accept")
    intent = intent_of(fake, payment)
    body = event("payment_intent.succeeded", intent)

    assert processed(body) == "applied"
    assert Authentication.objects.get(pk=payment.pk).due_at <= timezone.now()

    poll(payment.pk)
    assert state(payment.pk) == (status, "authenticated", "issuer")
    assert Transaction.objects.get(id=payment.pk).gateway_reference == payment.gateway_reference == intent["id"]
    assert processed(event("payment_intent.succeeded", intent)) == "ignored"


def test_a_challenge_that_the_customer_refused_declines_the_payment(secured, fake):
    payment, page = challenge(secured)
    answer_challenge(page, "refuse")

    assert processed(event("payment_intent.payment_failed", intent_of(fake, payment))) == "applied"

    poll(payment.pk)
    assert state(payment.pk) == ("declined", "failed", "merchant")


def test_a_challenge_without_an_answer_ends_with_its_time(secured, settings):
    settings.STRIPE_CHALLENGE_SECONDS = 0
    payment, page = challenge(secured)

    poll(payment.pk)

    assert state(payment.pk) == ("declined", "abandoned", "merchant")
    assert answer_challenge(page, "accept") == 410


def test_an_open_challenge_is_not_settled_by_an_event_about_other_money(secured, fake):
    payment, page = challenge(secured)
    answer_challenge(page, "accept")

    assert processed(event("payment_intent.succeeded", intent_of(fake, payment) | {"amount": 1})) == "refused"

    poll(payment.pk)
    assert state(payment.pk)[0] == "succeeded"


def test_an_unknown_payment_gets_the_result_of_its_authentication(secured, fake):
    fake.profile(lose_reply_ratio=1)
    payment = secured.pay(1942, payment_method=CARD, return_url=BACK).body
    fake.profile(lose_reply_ratio=0)
    assert payment.status == "unknown"

    body = event("payment_intent.succeeded", intent_of(fake, Transaction.objects.get(id=payment.id)))
    assert processed(body) == "applied"

    secured.resolve()
    assert state(payment.id) == ("succeeded", "frictionless", "issuer")


@pytest.mark.parametrize("metadata", [{}, {"fence": "k"}, {"operation": "charge", "key": "none of ours"}])
def test_an_object_that_is_none_of_ours_is_ignored(metadata):
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 100, "currency": "usd", "status": "succeeded"}

    assert processed(event("payment_intent.succeeded", intent | {"metadata": metadata})) == "ignored"
