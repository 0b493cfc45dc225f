"""Events of Stripe: its signature, and its objects as decisions about our operations."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import urllib3
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from fintech.env import ANY
from loadtests.tests.simulator import FakeStripe, running
from payments.gateway.base import Answer
from payments.gateway.client import PAGE_SECONDS
from payments.gateway.keys import dispute_key
from payments.gateway.registry import gateways
from payments.gateway.routing import Routes
from payments.gateway.stripe.disputes import StripeDispute, movements
from payments.gateway.stripe.gateway import StripeGateway
from payments.gateway_events.inbox import process
from payments.ledger.consistency import Finding, check_ledger
from payments.ledger.reconciliation import reconcile
from payments.models import (
    Authentication,
    Capture,
    Dispute,
    DisputeResponse,
    Event,
    GatewayEvent,
    Refund,
    Transaction,
    WebhookEvent,
)
from payments.schemas import CaptureInput, InquiryOutput
from payments.services.captures import create_capture
from payments.services.disputes import accept_dispute, deliver_responses, submit_evidence
from payments.tests.authentication.conftest import BACK, HOST, answer_challenge, poll, state
from payments.tests.shop import CARD, Shop
from payments.tests.webhooks.conftest import announce, outbox  # noqa: F401 - fixtures
from payments.webhooks.objects import serialize_events

pytestmark = pytest.mark.processes

SECRET = "whsec_test"


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
    monkeypatch.setattr("payments.services.pending.routes", Routes({(ANY, ANY): ("stripe",)}, "simulator"))
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


def test_an_authorization_that_stripe_has_released_by_itself_is_voided_once(stripe_shop, fake):
    payment = stripe_shop.pay(2000, capture=False, payment_method=CARD).body
    held = Transaction.objects.get(id=payment.id)
    fake.request("POST", f"/v1/payment_intents/{held.gateway_reference}/cancel", b"", key=str(uuid4()))
    body = event("payment_intent.canceled", intent_of(fake, held))

    assert processed(body) == "applied"

    held.refresh_from_db()
    assert (held.status, list(held.voids.values_list("status", flat=True))) == ("voided", ["succeeded"])
    assert processed(event("payment_intent.canceled", intent_of(fake, held))) == "ignored"


@pytest.mark.parametrize("faults", [{}, {"lose_reply_ratio": 1}], ids=["answered", "unanswered"])
@pytest.mark.parametrize(("captured", "status"), [(None, "voided"), (500, "succeeded")])
def test_a_capture_of_an_authorization_that_stripe_has_released_voids_it(stripe_shop, fake, captured, status, faults):
    held = Transaction.objects.get(id=stripe_shop.pay(2000, capture=False, payment_method=CARD).body.id)
    capture = partial(create_capture, merchant_id=stripe_shop.merchant.pk, transaction_id=held.id)
    if captured:
        capture(key="first", body=CaptureInput(captured, final=False))
    fake.request("POST", f"/v1/payment_intents/{held.gateway_reference}/cancel", b"", key=str(uuid4()))
    fake.profile(**faults)

    capture(key="late", body=CaptureInput())

    fake.profile(lose_reply_ratio=0)
    stripe_shop.resolve()
    late = Capture.objects.get(transaction=held, idempotency_key="late")
    assert (late.status, late.failure_code) == ("failed", "authorization_expired")
    held.refresh_from_db()
    assert (held.status, held.amount_captured) == (status, captured or 0)
    assert list(held.voids.values_list("status", flat=True)) == ["succeeded"]
    assert [found for _, found in check_ledger([stripe_shop.merchant.pk]) if found] == []


def test_an_authorization_that_stripe_has_released_stays_right_while_stripe_does_not_answer(stripe_shop, fake):
    payment = stripe_shop.pay(2000, capture=False, payment_method=CARD).body
    held = Transaction.objects.get(id=payment.id)
    fake.request("POST", f"/v1/payment_intents/{held.gateway_reference}/cancel", b"", key=str(uuid4()))
    body = event("payment_intent.canceled", intent_of(fake, held))
    fake.profile(unavailable_ratio=1)

    processed(body)

    fake.profile(unavailable_ratio=0)
    assert [found for _, found in check_ledger([stripe_shop.merchant.pk]) if found] == []


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


def accept_before_the_cancel(payment: Transaction, page: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the customer accept between our look at the challenge and our cancel of it. Returns the accepted intents."""
    find, accepted = StripeGateway.find_charge, list[Any]()

    def find_then_accept(self: StripeGateway, key: UUID, *, reference: str | None = None) -> Any:
        found = find(self, key, reference=reference)
        if key == payment.gateway_key and not accepted:
            answer_challenge(page, "accept")
            accepted.append(self._read(f"/v1/payment_intents/{reference}"))
        return found

    monkeypatch.setattr(StripeGateway, "find_charge", find_then_accept)
    return accepted


def test_an_authorization_that_our_cancel_released_contradicts_nothing(secured, fake, settings, monkeypatch):
    settings.STRIPE_CHALLENGE_SECONDS = 0
    payment, page = challenge(secured, capture=False)
    accepted = accept_before_the_cancel(payment, page, monkeypatch)

    poll(payment.pk)

    assert state(payment.pk)[0] == "declined"
    assert [intent["status"] for intent in accepted] == ["requires_capture"]
    assert processed(event("payment_intent.amount_capturable_updated", accepted[0])) == "ignored"
    assert processed(event("payment_intent.canceled", intent_of(fake, payment))) == "ignored"
    assert state(payment.pk)[0] == "declined"


@pytest.mark.parametrize(("now", "outcome"), [("approved", "refused"), ("unavailable", None), ("timeout", None)])
def test_an_authorization_that_stripe_may_still_hold_is_refused_or_waits(secured, settings, monkeypatch, now, outcome):
    settings.STRIPE_CHALLENGE_SECONDS = 0
    payment, page = challenge(secured, capture=False)
    accepted = accept_before_the_cancel(payment, page, monkeypatch)
    poll(payment.pk)
    monkeypatch.setattr(StripeGateway, "find_charge", lambda *_, **__: Answer(now))

    assert processed(event("payment_intent.amount_capturable_updated", accepted[0])) == outcome


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


# --- Disputes ----------------------------------------------------------------------------------------------------


class Bank:
    """Disputes the payments of a shop at the fake."""

    def __init__(self, fake: FakeStripe) -> None:
        self.fake = fake

    def dispute(self, payment: UUID, **fields: Any) -> dict[str, Any]:
        key = Transaction.objects.get(id=payment).gateway_key
        return self._control("", {"charge": str(key), "fee": 1500, **fields})

    def decide(self, name: str, state: str) -> dict[str, Any]:
        return self._control(f"/{name}", {"state": state})

    def read(self, name: str) -> dict[str, Any]:
        return self.fake.request("GET", f"/v1/disputes/{name}").body

    def _control(self, path: str, body: object) -> dict[str, Any]:
        answer = self.fake.request("POST", f"/control/disputes{path}", body, token=self.fake.control_token)
        assert answer.status in (200, 201), answer
        return answer.body


@pytest.fixture
def bank(fake: FakeStripe) -> Bank:
    return Bank(fake)


def informed(dispute: dict[str, Any], change: str = "updated") -> str | None:
    return processed(event(f"charge.dispute.{change}", dispute))


def steps(payment: UUID) -> list[str]:
    kinds = Event.objects.filter(transaction_id=payment, kind__startswith="dispute_").order_by("id")
    return [kind.removeprefix("dispute_") for kind in kinds.values_list("kind", flat=True)]


def disputed(shop: Shop, bank: Bank, **fields: Any) -> tuple[Dispute, dict[str, Any]]:
    payment = shop.pay(2000, payment_method=CARD).body
    theirs = bank.dispute(payment.id, **fields)
    assert informed(theirs, "created") == "applied"
    return Dispute.objects.get(transaction_id=payment.id), theirs


def reconciled(fake: FakeStripe, shop: Shop) -> list[Finding]:
    report = reconcile(StripeGateway(fake.url, fake.token), merchants=[shop.merchant.pk])
    keys = {str(row.id) for row in Transaction.objects.filter(merchant=shop.merchant)}
    keys |= {str(row.id) for row in Dispute.objects.filter(merchant=shop.merchant)}
    return [finding for finding in report.findings if finding.resource in keys]


def test_a_dispute_is_opened_and_waits_for_a_response(stripe_shop, bank, fake):
    ours, theirs = disputed(stripe_shop, bank)

    assert (ours.status, ours.amount, ours.fee, ours.reason) == ("needs_response", 2000, 1500, "fraudulent")
    assert ours.gateway_key == dispute_key(theirs["id"])
    assert ours.evidence_due_at.timestamp() == theirs["evidence_details"]["due_by"]
    assert steps(ours.transaction_id) == ["opened", "needs_response"]
    assert informed(theirs, "funds_withdrawn") == "ignored"
    assert reconciled(fake, stripe_shop) == []


def test_evidence_reaches_stripe_and_wins(stripe_shop, bank, fake):
    ours, theirs = disputed(stripe_shop, bank)
    files = [{"name": "receipt.pdf", "sha256": "a" * 64, "size": 7}]
    submit_evidence(merchant_id=stripe_shop.merchant.pk, dispute_id=ours.pk, text="It was delivered.", files=files)

    deliver_responses()

    assert bank.read(theirs["id"])["evidence"]["uncategorized_text"] == "It was delivered."
    assert bank.read(theirs["id"])["metadata"] == {"file_0": f"{'a' * 64} 7 receipt.pdf"}
    assert informed(bank.decide(theirs["id"], "won"), "closed") == "applied"
    assert steps(ours.transaction_id) == ["opened", "needs_response", "under_review", "won"]
    assert ours.responses.get().outcome == "taken"
    assert reconciled(fake, stripe_shop) == []


def test_evidence_whose_answer_is_lost_is_sent_again(stripe_shop, bank, fake):
    ours, theirs = disputed(stripe_shop, bank)
    submit_evidence(merchant_id=stripe_shop.merchant.pk, dispute_id=ours.pk, text="It was delivered.", files=[])
    fake.profile(lose_reply_ratio=1)
    deliver_responses()
    fake.profile(lose_reply_ratio=0)
    assert ours.responses.get().delivered_at is None
    assert bank.read(theirs["id"])["status"] == "under_review"

    ours.responses.update(due_at=Now())
    deliver_responses()

    assert ours.responses.get().outcome == "taken"
    assert bank.read(theirs["id"])["evidence_details"]["submission_count"] == 1


def test_an_accepted_dispute_is_lost_in_both_places(stripe_shop, bank, fake):
    ours, theirs = disputed(stripe_shop, bank)
    accept_dispute(merchant_id=stripe_shop.merchant.pk, dispute_id=ours.pk)

    deliver_responses()

    assert bank.read(theirs["id"])["status"] == "lost"
    assert informed(theirs, "closed") == "ignored"
    assert steps(ours.transaction_id) == ["opened", "needs_response", "lost"]
    assert reconciled(fake, stripe_shop) == []


def test_events_that_are_late_or_first_lead_to_the_same_steps(stripe_shop, bank, fake):
    payment = stripe_shop.pay(2000, payment_method=CARD).body
    theirs = bank.dispute(payment.id)
    bank.decide(theirs["id"], "under_review")
    closed = bank.decide(theirs["id"], "won")

    outcomes = [informed(closed, "closed"), informed(theirs, "created"), informed(theirs, "funds_withdrawn")]

    assert outcomes == ["applied", "ignored", "ignored"]
    assert steps(payment.id) == ["opened", "needs_response", "under_review", "won"]
    assert reconciled(fake, stripe_shop) == []


def decided(status: str, currency: str, *amounts: int) -> dict[str, Any]:
    """Return a decision of the bank and the movements of money, in the currency of the account."""
    return {
        "status": status,
        "balance_transactions": [{"amount": amount, "fee": 0, "currency": currency} for amount in amounts],
    }


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (decided("won", "usd", -5280, 5160), "won"),  # at another rate
        (decided("won", "usd", -5280, -1500, 5160), "won"),
        (decided("won", "eur", -2000, -1500, 2000), "won"),  # with a fee of its own
        (decided("won", "eur", -2000, 400), "under_review"),
        (decided("won", "usd", -5280), "under_review"),
        (decided("lost", "usd", -5280, 1056), "lost"),  # what was refunded already
    ],
)
def test_a_dispute_is_won_once_its_money_is_back_in_whatever_currency(stripe_shop, bank, monkeypatch, change, state):
    """One in another currency than the account's stayed under review for ever if the rate had fallen."""
    payment = stripe_shop.pay(2000, payment_method=CARD).body
    theirs = bank.dispute(payment.id)
    bank.decide(theirs["id"], "under_review")
    find = StripeGateway.find_dispute
    monkeypatch.setattr(StripeGateway, "find_dispute", lambda *call: find(*call) | change)

    assert informed(theirs, "closed") == "applied"

    assert steps(payment.id)[-1] == state
    gateway = gateways.get("stripe")
    assert isinstance(gateway, StripeGateway)
    found = msgspec.convert(gateway.find_dispute(theirs["id"]), StripeDispute)
    returned = ["dispute_return"] if state == "won" else []
    assert [kind for kind, _ in movements(found)] == ["dispute", *returned]


def test_a_dispute_that_allows_no_response_stays_open_until_it_is_lost(stripe_shop, bank):
    ours, theirs = disputed(stripe_shop, bank, evidence_seconds=0)
    assert (ours.status, ours.evidence_due_at) == ("opened", None)

    assert informed(bank.decide(theirs["id"], "lost"), "closed") == "applied"

    assert steps(ours.transaction_id) == ["opened", "lost"]


def inquired(shop: Shop, bank: Bank) -> tuple[UUID, dict[str, Any]]:
    """Pay, let the bank inquire, and inform the platform twice."""
    payment = shop.pay(2000, payment_method=CARD).body
    theirs = bank.dispute(payment.id, status="warning_needs_response")
    assert [informed(theirs, "created"), informed(theirs)] == ["applied", "ignored"]
    return payment.id, theirs


def inquiries(payment: UUID) -> list[str]:
    return list(
        Event.objects.filter(transaction_id=payment, kind__startswith="inquiry_").values_list("kind", flat=True)
    )


def test_an_inquiry_is_announced_and_takes_no_money(stripe_shop, bank, fake, announce):  # noqa: F811
    payment, theirs = inquired(stripe_shop, bank)

    announce()

    announced = WebhookEvent.objects.filter(merchant=stripe_shop.merchant, type__startswith="inquiry.")
    (shown,) = serialize_events(list(announced.select_related("journal__transaction")))
    assert shown.type == "inquiry.needs_response"
    due = datetime.fromtimestamp(theirs["evidence_details"]["due_by"], UTC)
    assert shown.data == InquiryOutput(theirs["id"], payment, "needs_response", 2000, "EUR", "fraudulent", due)
    assert (steps(payment), reconciled(fake, stripe_shop)) == ([], [])
    assert [found for _, found in check_ledger([stripe_shop.merchant.pk]) if found] == []


def test_an_inquiry_becomes_a_dispute_once_it_takes_money(stripe_shop, bank, fake):
    payment, theirs = inquired(stripe_shop, bank)

    assert informed(bank.decide(theirs["id"], "needs_response")) == "applied"

    assert (inquiries(payment), steps(payment)) == (["inquiry_needs_response"], ["opened", "needs_response"])
    assert reconciled(fake, stripe_shop) == []


def test_a_payment_with_an_inquiry_can_be_refunded_and_the_bank_closes_it(stripe_shop, bank, fake):
    payment, theirs = inquired(stripe_shop, bank)
    response = {"Authorization": f"Bearer {fake.token}", "Idempotency-Key": str(uuid4())}
    urllib3.request("POST", f"{fake.url}/v1/disputes/{theirs['id']}", body="submit=true", headers=response)
    assert informed(theirs) == "applied"

    assert stripe_shop.refund(payment).body.status == "succeeded"
    assert informed(bank.decide(theirs["id"], "warning_closed"), "closed") == "applied"

    assert inquiries(payment) == ["inquiry_needs_response", "inquiry_under_review", "inquiry_closed"]
    assert (steps(payment), reconciled(fake, stripe_shop)) == ([], [])


def test_an_event_waits_while_stripe_does_not_answer(stripe_shop, bank, fake):
    payment = stripe_shop.pay(2000, payment_method=CARD).body
    theirs = bank.dispute(payment.id)
    body = event("charge.dispute.created", theirs)
    fake.profile(cancel_fails=True)

    assert processed(body) is None

    fake.profile(cancel_fails=False)
    stored = GatewayEvent.objects.get(identifier=json.loads(body)["id"])
    process(stored)
    assert (stored.detail, steps(payment.id)) == ("the gateway answered 500", ["opened", "needs_response"])


def test_an_event_waits_soon_while_stripe_hangs(settings, monkeypatch):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.2
    body = event("charge.dispute.created", {"id": "dp_hangs"})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = StripeGateway(f"http://127.0.0.1:{silent.getsockname()[1]}", "sk_test")
        monkeypatch.setitem(gateways.made, "stripe", hanging)
        start = time.monotonic()

        assert processed(body) is None

    assert time.monotonic() - start < PAGE_SECONDS / 2
    stored = GatewayEvent.objects.filter(identifier=json.loads(body)["id"])
    assert stored.get().detail == "the gateway does not answer: ReadTimeoutError"
    stored.update(processed_at=timezone.now(), outcome="ignored")


@pytest.mark.parametrize("change", [{"status": "\0"}, {"reason": "\0"}])
def test_a_dispute_with_a_text_that_cannot_be_stored_is_refused(monkeypatch, change):
    dispute = {"id": "dp_1", "amount": 1, "currency": "eur", "status": "lost", "reason": "fraudulent", "created": 0}
    found = dispute | {"evidence_details": {}, "balance_transactions": []} | change
    monkeypatch.setitem(gateways.made, "stripe", StripeGateway("http://127.0.0.1:9", "sk_test"))
    monkeypatch.setattr(StripeGateway, "find_dispute", lambda *_: found)

    assert processed(event("charge.dispute.created", {"id": "dp_1"})) == "refused"


def test_a_dispute_that_both_sides_ended_differently_is_refused(stripe_shop, bank, fake):
    ours, theirs = disputed(stripe_shop, bank)
    bank.decide(theirs["id"], "under_review")
    accept_dispute(merchant_id=stripe_shop.merchant.pk, dispute_id=ours.pk)

    assert informed(bank.decide(theirs["id"], "won"), "closed") == "refused"

    assert steps(ours.transaction_id)[-1] == "lost"
    assert [finding.check for finding in reconciled(fake, stripe_shop)] == ["missing_in_ledger"]
    DisputeResponse.objects.filter(dispute=ours).update(delivered_at=Now(), outcome="refused")


@pytest.mark.parametrize("name", ["", "ch_1", "dp_1/../x", "dp_" + "1" * 300, 7])
def test_an_event_without_the_name_of_a_dispute_is_unreadable(name):
    assert processed(event("charge.dispute.created", {"id": name})) == "unreadable"


@pytest.mark.parametrize("metadata", [{}, {"fence": "k"}, {"operation": "charge", "key": "none of ours"}])
def test_an_object_that_is_none_of_ours_is_ignored(metadata):
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 100, "currency": "usd", "status": "succeeded"}

    assert processed(event("payment_intent.succeeded", intent | {"metadata": metadata})) == "ignored"
