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
from payments.models import GatewayEvent, Refund, Transaction
from payments.schemas import PaymentMethod
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


@pytest.mark.parametrize("metadata", [{}, {"fence": "k"}, {"operation": "charge", "key": "none of ours"}])
def test_an_object_that_is_none_of_ours_is_ignored(metadata):
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 100, "currency": "usd", "status": "succeeded"}

    assert processed(event("payment_intent.succeeded", intent | {"metadata": metadata})) == "ignored"
