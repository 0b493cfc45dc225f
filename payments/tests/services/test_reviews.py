"""Payments in review at the real simulator: held, accepted or refused once, expired, and in every count."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings

from fintech.testing.databases import in_thread
from loadtests.tests.simulator import Simulator
from payments.api.responses import Reply, reply_to
from payments.errors import Conflict, InFlight, NotFound, PaymentError
from payments.kpis.gauges import waiting_reviews
from payments.models import (
    Capture,
    Event,
    IdempotencyKey,
    LedgerLeg,
    Merchant,
    Review,
    Transaction,
    VelocityRule,
    Void,
)
from payments.schemas import CaptureInput, PaymentMethod, ReviewInput, VoidInput
from payments.services.authorization_expiry import void_expired
from payments.services.captures import create_capture
from payments.services.reviews import decide_review
from payments.services.voids import create_void
from payments.tests.consistency import check_books
from payments.tests.shop import Shop
from payments.webhooks.objects import TYPES

pytestmark = pytest.mark.processes
RISKY = PaymentMethod("card", token="tok_risky", country="DE")


@pytest.fixture(autouse=True)
def _careful(shop: Shop, gateway: Simulator) -> Iterator[None]:
    """The shop holds payments with the token tok_risky for a review. Its books are in order after each test."""
    shop.change_merchant(review_threshold=0.5)
    yield
    gateway.profile(error_ratio=0, lose_reply_ratio=0)
    shop.resolve()
    check_books(gateway, shop.merchant)


def hold(shop: Shop, amount: int = 1250, **fields: Any) -> UUID:
    """Return the id of a payment in review."""
    reply = shop.pay(amount, payment_method=RISKY, **fields)
    assert (reply.status_code, reply.body.status) == (201, "in_review"), reply.body
    return reply.body.id


def decide(shop: Shop, payment: UUID, decision: str = "accept", *, key: str | None = None, **fields: Any) -> Reply:
    body = ReviewInput(decision=decision, **fields)
    key = key or secrets.token_hex(8)
    outcome = decide_review(merchant_id=shop.merchant.pk, transaction_id=payment, key=key, body=body, actor="admin:eve")
    return reply_to(outcome)


def read(payment: UUID) -> Transaction:
    return Transaction.objects.get(id=payment)


def kinds(payment: UUID) -> list[str]:
    return list(Event.objects.filter(transaction=payment).order_by("id").values_list("kind", flat=True))


def made(payment: UUID) -> tuple[int, int, int]:
    """Return how many decisions, captures and voids there are."""
    return tuple(model.objects.filter(transaction=payment).count() for model in (Review, Capture, Void))  # type: ignore[return-value]


def hold_briefly(shop: Shop, **fields: Any) -> UUID:
    """Return the id of a payment whose time for a review is over."""
    with override_settings(AUTHORIZATION_HOLD_SECONDS=0):
        return hold(shop, **fields)


# --- Held --------------------------------------------------------------------------------------------------


def test_a_payment_that_reaches_the_review_threshold_is_held(shop):
    payment = read(hold(shop))

    assert (payment.status, payment.review, payment.fraud_reasons) == ("in_review", "capture", ["risky_token"])
    assert (payment.amount_authorized, payment.amount_captured, payment.settled_at) == (1250, 0, None)
    assert payment.capture_before is not None
    assert kinds(payment.pk) == ["processing", "in_review"]
    assert not LedgerLeg.objects.filter(transaction=payment).exists()


def test_a_payment_below_the_review_threshold_is_charged(shop):
    assert shop.pay().body.status == "succeeded"


def test_a_payment_at_the_merchants_threshold_is_blocked_not_held(shop):
    reply = shop.pay(payment_method=PaymentMethod("card", token="tok_fraud"))

    assert reply.body.status == "blocked"


def test_the_allow_list_counts_more_than_the_review_threshold(shop):
    shop.merchant.fraud_entries.create(list="allow", field="customer", value="c_1")
    shop.change_merchant()

    assert shop.pay(payment_method=RISKY).body.status == "succeeded"


def test_a_payment_beyond_a_velocity_rule_is_held(shop):
    VelocityRule.objects.create(
        merchant=shop.merchant, field="customer", measure="count", window_seconds=86_400, maximum=1, outcome="review"
    )
    shop.change_merchant()

    replies = [shop.pay().body for _ in range(2)]

    assert [reply.status for reply in replies] == ["succeeded", "in_review"]
    assert replies[1].fraud.reasons == ["no_payment_method", "velocity:customer:count:86400"]


def test_a_declined_payment_needs_no_review(shop):
    reply = shop.pay(1901, payment_method=RISKY)

    assert (reply.body.status, kinds(reply.body.id)) == ("declined", ["processing", "declined"])


def test_a_payment_whose_outcome_was_unknown_is_held_by_the_resolver(shop):
    reply = shop.pay(1922, payment_method=RISKY)
    assert reply.status_code == 202
    shop.resolve()

    assert read(reply.body.id).status == "in_review"


def test_a_replay_of_a_held_payment_returns_it(shop):
    key = secrets.token_hex(8)
    payment = hold(shop, key=key)
    replay = shop.pay(key=key, payment_method=RISKY)

    assert (replay.status_code, replay.body.id, replay.body.status) == (200, payment, "in_review")


@pytest.mark.parametrize("step", ["capture", "void"])
def test_the_merchant_cannot_capture_or_void_it(shop, step):
    payment = hold(shop, capture=False)
    create: Callable[..., Any] = create_capture if step == "capture" else create_void
    body = CaptureInput() if step == "capture" else VoidInput()

    with pytest.raises(Conflict) as refusal:
        create(merchant_id=shop.merchant.pk, transaction_id=payment, key=secrets.token_hex(8), body=body)

    assert (refusal.value.code, made(payment)) == ("in_review", (0, 0, 0))


def test_it_cannot_be_refunded(shop):
    payment = hold(shop)

    with pytest.raises(PaymentError) as refusal:
        shop.refund(payment)

    assert refusal.value.code == "not_refundable"


# --- Decided -----------------------------------------------------------------------------------------------


def test_an_accepted_payment_is_captured(shop):
    payment = hold(shop)
    reply = decide(shop, payment, reason="called the customer")

    assert (reply.status_code, reply.body.decision, reply.body.status) == (201, "accept", "succeeded")
    assert (read(payment).status, read(payment).amount_captured) == ("succeeded", 1250)
    assert kinds(payment)[2:] == ["review_accepted", "capture_processing", "capture_succeeded", "succeeded"]
    entry = Event.objects.get(transaction=payment, kind="review_accepted")
    assert (entry.actor, entry.data) == ("admin:eve", {"reason": "called the customer"})


def test_an_accepted_payment_that_the_merchant_captures_becomes_authorized(shop):
    payment = hold(shop, capture=False)
    reply = decide(shop, payment)

    assert (reply.status_code, reply.body.status) == (201, "succeeded")
    assert (read(payment).status, made(payment)) == ("authorized", (1, 0, 0))
    outcome = create_capture(
        merchant_id=shop.merchant.pk, transaction_id=payment, key=secrets.token_hex(8), body=CaptureInput()
    )
    assert (outcome.operation.status, read(payment).status) == ("succeeded", "succeeded")


def test_a_refused_payment_is_voided(shop):
    payment = hold(shop)
    reply = decide(shop, payment, "refuse", reason="stolen card")

    assert (reply.status_code, reply.body.decision, reply.body.status) == (201, "refuse", "succeeded")
    assert read(payment).status == "voided"
    assert kinds(payment)[2:] == ["review_refused", "void_processing", "void_succeeded", "voided"]
    assert Void.objects.get(transaction=payment).reason == "stolen card"


def test_a_payment_without_a_decision_is_voided_with_its_time(shop):
    payment = hold_briefly(shop)
    void_expired()

    assert (read(payment).status, made(payment)) == ("voided", (0, 0, 1))
    assert Void.objects.get(transaction=payment).reason == "The authorization expired."


@pytest.mark.parametrize("capture", [True, False])
def test_a_payment_whose_time_is_over_cannot_be_accepted(shop, capture):
    payment = hold_briefly(shop, capture=capture)

    with pytest.raises(Conflict) as refusal:
        decide(shop, payment)

    assert (refusal.value.code, made(payment)) == ("authorization_expired", (0, 0, 0))


def test_a_refused_payment_cannot_be_accepted(shop):
    payment = hold(shop)
    decide(shop, payment, "refuse")

    with pytest.raises(Conflict) as refusal:
        decide(shop, payment)

    assert (refusal.value.code, refusal.value.detail) == (
        "not_in_review",
        "A transaction that is voided is not in review.",
    )
    assert made(payment) == (1, 0, 1)


def test_a_payment_that_was_not_held_cannot_be_decided_about(shop):
    payment = shop.pay().body.id

    with pytest.raises(Conflict) as refusal:
        decide(shop, payment, key="unused")

    assert refusal.value.code == "not_in_review"
    assert not IdempotencyKey.objects.filter(merchant_id=shop.merchant.pk, key="unused").exists()


def test_another_merchant_cannot_decide(shop):
    payment = hold(shop)

    with pytest.raises(NotFound):
        decide(Shop.open(), payment)

    assert made(payment) == (0, 0, 0)


@pytest.mark.parametrize("decision", ["accept", "refuse"])
def test_a_payment_whose_capture_or_void_failed_stays_in_review(shop, gateway, decision):
    payment = hold(shop)
    gateway.profile(error_ratio=1)
    reply = decide(shop, payment, decision)

    assert (reply.status_code, reply.body.status, reply.body.failure.code) == (201, "failed", "processing_error")
    assert read(payment).status == "in_review"
    gateway.profile(error_ratio=0)
    assert decide(shop, payment, "refuse").body.status == "succeeded"
    assert read(payment).status == "voided"


def test_a_decision_whose_answer_was_lost_is_settled_by_the_resolver(shop, gateway):
    payment = hold(shop)
    gateway.profile(lose_reply_ratio=1)
    reply = decide(shop, payment, key="lost")

    assert (reply.status_code, reply.body.status, read(payment).status) == (202, "unknown", "in_review")
    gateway.profile(lose_reply_ratio=0)
    shop.resolve()
    replay = decide(shop, payment, key="lost")
    assert (replay.status_code, replay.body.status, read(payment).status) == (200, "succeeded", "succeeded")


@pytest.mark.parametrize("decision", ["accept", "refuse"])
@pytest.mark.parametrize("capture", [True, False])
def test_a_key_decides_once(shop, decision, capture):
    payment = hold(shop, capture=capture)
    first = decide(shop, payment, decision, key="once")
    again = decide(shop, payment, decision, key="once")

    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.body == first.body
    assert made(payment)[0] == 1


def test_a_key_of_another_request_is_refused(shop):
    payment = hold(shop, key="taken")

    for key, fields in (("taken", {}), ("decided", {"reason": "other"})):
        if key == "decided":
            decide(shop, payment, key=key)
        with pytest.raises(PaymentError) as refusal:
            decide(shop, payment, key=key, **fields)
        assert refusal.value.code == "idempotency_key_reused"


def test_one_of_several_decisions_at_once_counts(shop):
    payment = hold(shop)

    def attempt(number: int) -> str:
        try:
            return str(decide(shop, payment, ("accept", "refuse")[number % 2]).body.decision)
        except (Conflict, InFlight) as refusal:
            return refusal.code

    with ThreadPoolExecutor(5) as threads:
        expiry = threads.submit(in_thread(void_expired))
        answers = list(threads.map(in_thread(attempt), range(4)))
        expiry.result()

    won = [answer for answer in answers if answer in ("accept", "refuse")]
    assert len(won) == 1, answers
    assert read(payment).status == ("succeeded" if won == ["accept"] else "voided")


def waiting(currency: str) -> tuple[int, int]:
    """Return how many reviews wait, and their amount in this currency."""
    found = waiting_reviews()
    return found.number, found.amounts.get(currency, 0)


@pytest.mark.parametrize("decision", ["accept", "refuse"])
def test_a_review_waits_until_it_is_decided(shop, decision):
    number, _ = waiting("NOK")
    payment = hold(shop, currency="NOK")
    found = waiting_reviews()
    assert waiting("NOK") == (number + 1, 1250)
    assert found.oldest_seconds > 0
    assert found.earliest_expiry <= read(payment).capture_before

    decide(shop, payment, decision)

    assert waiting("NOK") == (number, 0)


def test_a_review_whose_decision_is_being_carried_out_does_not_wait(shop, gateway):
    number, _ = waiting("SEK")
    payment = hold(shop, currency="SEK")
    gateway.profile(lose_reply_ratio=1)

    assert decide(shop, payment).body.status == "unknown"
    assert waiting("SEK") == (number, 0)


def test_a_review_whose_capture_failed_waits_again(shop, gateway):
    number, _ = waiting("DKK")
    payment = hold(shop, currency="DKK")
    gateway.profile(error_ratio=1)

    assert decide(shop, payment).body.status == "failed"
    assert waiting("DKK") == (number + 1, 1250)
    gateway.profile(error_ratio=0)
    decide(shop, payment, "refuse")


def test_a_review_whose_time_is_over_does_not_hide_the_next_expiry(shop):
    hold_briefly(shop)
    with override_settings(AUTHORIZATION_HOLD_SECONDS=1800):  # before the reviews of other tests expire
        following = hold(shop)

    assert waiting_reviews().earliest_expiry == read(following).capture_before
    void_expired()
    decide(shop, following, "refuse")


def test_each_step_of_a_review_is_announced():
    assert TYPES["in_review"] == "payment.in_review"


def test_a_merchant_without_a_review_threshold_never_holds(shop):
    shop.change_merchant(review_threshold=None)

    assert shop.pay(payment_method=RISKY).body.status == "succeeded"
    assert Merchant.objects.get(pk=shop.merchant.pk).review_threshold is None
