"""Stripe's answers, amounts and requests, where they differ from the contract of all gateways."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from loadtests.tests.simulator import FakeStripe, running
from payments.gateway.base import AuthenticationResult, Challenge
from payments.gateway.stripe.amounts import from_stripe, to_stripe
from payments.gateway.stripe.answers import capture_reader, read_fence, read_intent, read_payment, read_refund
from payments.gateway.stripe.gateway import StripeGateway
from payments.gateway.stripe.requests import NotSent, captures_of
from payments.schemas import PaymentMethod

CARD = PaymentMethod("card", token="pm_card_visa")
INTENT = {"object": "payment_intent", "id": "pi_1", "amount": 1250, "currency": "eur", "status": "succeeded"}
BAD = {"error": {"type": "invalid_request_error", "code": "parameter_invalid_integer"}}


def card_error(**fields: Any) -> dict[str, Any]:
    return {"error": {"type": "card_error", **fields}}


def refused_intent(**error: Any) -> dict[str, Any]:
    return INTENT | {"status": "requires_payment_method", "last_payment_error": error}


def invalid(**fields: Any) -> dict[str, Any]:
    return {"error": {"type": "invalid_request_error", **fields}}


@pytest.mark.parametrize(
    ("amount", "currency", "theirs"),
    [
        (1250, "EUR", 1250),
        (1250, "JPY", 1250),
        (1250, "KWD", 1250),
        (5, "ISK", 500),
        (5, "UGX", 500),
        (1200, "MGA", 12),
    ],
)
def test_amounts_are_sent_in_stripes_minor_units(amount, currency, theirs):
    assert to_stripe(amount, currency) == theirs
    assert from_stripe(theirs, currency) == amount


@pytest.mark.parametrize(("amount", "currency"), [(1251, "KWD"), (1251, "MGA")])
def test_an_amount_that_stripe_cannot_move_exactly_is_not_sent(amount, currency):
    with pytest.raises(NotSent, match="amount_not_representable"):
        to_stripe(amount, currency)

    unreachable = StripeGateway("http://127.0.0.1:9", "sk_test")
    answer = unreachable.charge(uuid4(), amount=amount, currency=currency, payment_method=CARD)
    assert (answer.outcome, answer.code, answer.exchanges) == ("error", "amount_not_representable", [])


@pytest.mark.parametrize("payment_method", [None, PaymentMethod("card")])
def test_a_payment_without_a_token_is_not_sent(payment_method):
    unreachable = StripeGateway("http://127.0.0.1:9", "sk_test")

    answer = unreachable.charge(uuid4(), amount=1250, currency="EUR", payment_method=payment_method)

    assert (answer.outcome, answer.code) == ("error", "payment_method_missing")


@pytest.mark.parametrize(
    ("status", "content", "outcome", "code"),
    [
        (200, INTENT, "approved", None),
        (200, INTENT | {"status": "requires_capture"}, "approved", None),
        (200, INTENT | {"status": "canceled"}, "cancelled", "cancelled"),
        (200, refused_intent(code="expired_card"), "declined", "expired_card"),
        (200, refused_intent(code="processing_error"), "cancelled", "processing_error"),
        (402, card_error(code="card_declined", decline_code="insufficient_funds"), "declined", "insufficient_funds"),
        (402, card_error(code="card_declined", decline_code="stolen_card"), "declined", "lost_or_stolen"),
        (402, card_error(code="card_declined", decline_code="pickup_card"), "declined", "do_not_try_again"),
        (402, card_error(code="card_declined", decline_code="try_again_later"), "declined", "issuer_unavailable"),
        (402, card_error(code="card_declined", decline_code="fraudulent"), "declined", "do_not_honor"),
        (402, card_error(code="card_declined"), "declined", "do_not_honor"),
        (402, card_error(code="expired_card"), "declined", "expired_card"),
        (402, card_error(code="authentication_required"), "declined", "authentication_required"),
        (402, card_error(), "declined", "declined"),
        (402, card_error(code="processing_error"), "error", "processing_error"),
        (400, BAD, "error", "parameter_invalid_integer"),
        (400, invalid(code="charge_expired_for_capture"), "error", "authorization_expired"),
        (400, {"error": {"type": "idempotency_error"}}, "error", "key_reused"),
        (401, {}, "error", "gateway_refused_our_credentials"),
        (
            429,
            {"error": {"type": "invalid_request_error", "code": "rate_limit"}},
            "unavailable",
            "acquirer_unavailable",
        ),
        # Whatever does not say clearly that nothing was charged is not known.
        (200, INTENT | {"status": "processing"}, "timeout", "unclear_answer"),
        (200, INTENT | {"status": "requires_action"}, "timeout", "unclear_answer"),
        (200, INTENT | {"status": "requires_payment_method"}, "timeout", "unclear_answer"),
        (200, INTENT | {"status": 7}, "timeout", "unclear_answer"),
        (200, INTENT | {"id": None}, "timeout", "unclear_answer"),
        (200, INTENT | {"id": "ch_1"}, "timeout", "unclear_answer"),
        (200, INTENT | {"amount": 1251}, "timeout", "unclear_answer"),
        (200, INTENT | {"currency": "usd"}, "timeout", "unclear_answer"),
        (200, INTENT | {"object": "charge"}, "timeout", "unclear_answer"),
        (201, INTENT, "timeout", "unclear_answer"),
        (302, INTENT, "timeout", "unclear_answer"),
        (402, INTENT, "timeout", "unclear_answer"),
        (409, {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}, "timeout", "unclear_answer"),
        (429, {}, "timeout", "unclear_answer"),
        (500, {"error": {"type": "api_error"}}, "timeout", "unclear_answer"),
        (500, card_error(code="expired_card"), "timeout", "unclear_answer"),
        (503, {"error": {"type": "api_error"}}, "timeout", "unclear_answer"),
        (200, None, "timeout", "unreadable_answer"),
        (200, [], "timeout", "unreadable_answer"),
        (402, "card_error", "timeout", "unreadable_answer"),
    ],
)
def test_each_answer_is_read_for_what_it_promises(status, content, outcome, code):
    answer = read_payment(status, content, amount=1250, currency="EUR")

    assert (answer.outcome, answer.code) == (outcome, code)


def unexpected(**fields: Any) -> dict[str, Any]:
    return invalid(code="payment_intent_unexpected_state", payment_intent=INTENT | fields)


@pytest.mark.parametrize(
    ("status", "content", "outcome", "code"),
    [
        (400, unexpected(status="canceled"), "declined", "authorization_expired"),
        (400, unexpected(amount_received=500), "declined", "authorization_expired"),
        (400, unexpected(amount_received=1250), "declined", "authorization_closed"),
        (400, unexpected(status="processing"), "declined", "authorization_closed"),
        (400, invalid(code="amount_too_large"), "declined", "exceeds_authorization"),
        # A capture that is not in the metadata may have been carried out.
        (200, INTENT | {"status": "canceled"}, "timeout", "unclear_answer"),
        (500, unexpected(status="canceled"), "timeout", "unclear_answer"),
    ],
)
def test_the_answer_to_a_capture_says_whether_the_authorization_was_released(status, content, outcome, code):
    answer = capture_reader(uuid4())(status, content)

    assert (answer.outcome, answer.code) == (outcome, code)


ASKED = INTENT | {
    "status": "requires_action",
    "created": 1_700_000_000,
    "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds/1"}},
}


def test_a_challenge_ends_after_its_time(settings):
    settings.STRIPE_CHALLENGE_SECONDS = 900

    answer = read_payment(200, ASKED, amount=1250, currency="EUR", challenged=True)

    assert (answer.outcome, answer.reference) == ("requires_action", "pi_1")
    assert answer.challenge == Challenge("https://hooks.stripe.com/3ds/1", datetime.fromtimestamp(1_700_000_900, UTC))


@pytest.mark.parametrize(
    "changes",
    [
        {"next_action": None},
        {"next_action": {"type": "use_stripe_sdk"}},
        {"next_action": {"redirect_to_url": {"url": "javascript:1"}}},
        {"created": None},
        {"created": 10**20},
    ],
)
def test_a_challenge_without_a_page_and_a_time_is_unknown(changes):
    answer = read_payment(200, ASKED | changes, amount=1250, currency="EUR", challenged=True)

    assert (answer.outcome, answer.challenge) == ("timeout", None)


def test_a_challenge_that_was_not_allowed_is_unknown():
    assert read_payment(200, ASKED, amount=1250, currency="EUR").outcome == "timeout"


@pytest.mark.parametrize(
    ("details", "result"),
    [
        ({"result": "authenticated", "authentication_flow": "challenge"}, ("authenticated", "issuer")),
        ({"result": "authenticated", "authentication_flow": "frictionless"}, ("frictionless", "issuer")),
        ({"result": "attempt_acknowledged"}, ("frictionless", "issuer")),
        ({"result": "attempt_acknowledged", "electronic_commerce_indicator": "07"}, ("frictionless", "merchant")),
        ({"result": "exempted"}, ("exempt", "merchant")),
        ({"result": "failed"}, None),
        ({"result": "not_supported"}, None),
        ({"result": "processing_error"}, None),
        ({"result": ["authenticated"]}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_result_of_the_authentication_is_in_the_charge(details, result):
    charge = {"id": "ch_1", "payment_method_details": {"card": {"three_d_secure": details}}}

    answer = read_payment(200, INTENT | {"latest_charge": charge}, amount=1250, currency="EUR")

    assert answer.authentication == (AuthenticationResult(*result) if result else None)


def test_a_payment_that_fails_after_its_challenge_keeps_the_result_of_the_authentication():
    charge = {"payment_method_details": {"card": {"three_d_secure": {"result": "authenticated"}}}}

    answer = read_intent(refused_intent(code="processing_error") | {"latest_charge": charge})

    assert (answer.outcome, answer.authentication) == ("cancelled", AuthenticationResult("frictionless", "merchant"))


@pytest.mark.parametrize("charge", ["ch_1", None, {}, {"payment_method_details": "card"}])
def test_a_payment_without_a_readable_charge_has_no_authentication(charge):
    answer = read_payment(200, INTENT | {"latest_charge": charge}, amount=1250, currency="EUR")

    assert (answer.outcome, answer.authentication) == ("approved", None)


@pytest.mark.parametrize(
    ("status", "content", "outcome"),
    [
        (200, INTENT | {"metadata": {"fence": "k"}}, "cancelled"),
        (400, {"error": {"type": "idempotency_error"}}, "key_used"),
        (429, {"error": {"type": "invalid_request_error"}}, "unavailable"),
        # None of these says whether the operation arrived.
        (200, INTENT, "timeout"),
        (200, None, "timeout"),
        (400, BAD, "timeout"),
        (401, {}, "timeout"),
        (402, card_error(code="expired_card"), "timeout"),
        (409, {"error": {"type": "idempotency_error"}}, "timeout"),
        (500, {"error": {"type": "api_error"}}, "timeout"),
    ],
)
def test_a_fence_knows_only_what_stripe_says_about_the_key(status, content, outcome):
    assert read_fence(status, content).outcome == outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("succeeded", "approved"), ("failed", "declined"), ("canceled", "declined"), ("pending", "timeout")],
)
def test_a_refund_is_given_only_when_stripe_says_so(status, outcome):
    assert read_refund(200, {"object": "refund", "id": "re_1", "status": status}).outcome == outcome


def test_metadata_of_other_programs_is_no_capture():
    key = uuid4()

    metadata = {f"capture_{key.hex}": "500", "capture_7": "1", f"capture_{uuid4().hex}": "many", "order": "9"}

    assert captures_of(metadata) == [(key, 500)]


# --- Against the fake --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStripe]:
    directory: Path = tmp_path_factory.mktemp("stripe")
    with running(FakeStripe(directory / "stripe.sqlite3")) as started:
        yield started


@pytest.mark.processes
def test_a_charge_stays_unknown_until_the_search_shows_it(fake):
    stripe, key = StripeGateway(fake.url, fake.token), uuid4()
    stripe.charge(key, amount=1922, currency="EUR", payment_method=CARD)
    fake.let_search_lag(True)

    hidden = stripe.cancel_charge(key)

    fake.let_search_lag(False)
    assert (hidden.outcome, hidden.code) == ("timeout", "not_found_yet")
    assert stripe.cancel_charge(key).outcome == "approved"


@pytest.mark.processes
@pytest.mark.parametrize("amount", [1250, 1901])
def test_the_journal_keeps_neither_the_card_nor_the_clients_secret(fake, amount):
    stripe = StripeGateway(fake.url, fake.token)

    (exchange,) = stripe.charge(uuid4(), amount=amount, currency="EUR", payment_method=CARD).exchanges

    assert exchange.answer
    assert "secret" not in str(exchange.answer)
    assert CARD.token not in str(exchange.answer)


@pytest.mark.processes
def test_the_records_have_every_page_of_payments_and_refunds(fake):
    stripe, keys = StripeGateway(fake.url, fake.token), [uuid4() for _ in range(5)]
    for key in keys:
        paid = stripe.charge(key, amount=1250, currency="EUR", payment_method=CARD)
        stripe.refund(uuid4(), charge=key, reference=paid.reference, amount=250, currency="EUR")

    found, after = [], 0
    while after is not None:
        page = stripe.records(after=after, limit=2)
        found += page["records"]
        after = page["next"]

    ours = [record for record in found if {record["key"], record["charge"]} & {str(key) for key in keys}]
    assert (
        sorted((record["kind"], record["amount"]) for record in ours) == [("charge", 1250)] * 5 + [("refund", 250)] * 5
    )


@pytest.fixture
def stripe(fake: FakeStripe) -> Iterator[StripeGateway]:
    yield StripeGateway(fake.url, fake.token)
    fake.profile(lose_reply_ratio=0)


def authorize(stripe: StripeGateway, amount: int = 3000) -> dict[str, Any]:
    key = uuid4()
    answer = stripe.authorize(key, amount=amount, currency="EUR", payment_method=CARD)
    assert answer.outcome == "approved"
    return {"authorization": key, "reference": answer.reference}


@pytest.mark.processes
@pytest.mark.parametrize("captured", [0, 1000])
def test_a_void_of_an_authorization_that_stripe_has_released_succeeds(fake, stripe, captured):
    """Stripe releases an authorization of Visa after less than five days, and a worker of ours after seven."""
    held = authorize(stripe)
    if captured:
        stripe.capture(uuid4(), **held, amount=captured, currency="EUR", final=False)
    fake.request("POST", f"/v1/payment_intents/{held['reference']}/cancel", b"", key=str(uuid4()))

    assert stripe.void(uuid4(), **held).outcome == "approved"


@pytest.mark.processes
def test_a_void_of_a_payment_that_is_captured_as_a_whole_is_declined(stripe):
    held = authorize(stripe)
    stripe.capture(uuid4(), **held, amount=3000, currency="EUR", final=True)

    answer = stripe.void(uuid4(), **held)

    assert (answer.outcome, answer.code) == ("declined", "authorization_closed")


@pytest.mark.processes
def test_money_that_moved_is_found_after_stripe_has_forgotten_the_keys(fake, stripe):
    """Then it takes the fence of an operation that has arrived."""
    held, parts, paid = authorize(stripe), authorize(stripe), uuid4()
    charge = stripe.charge(paid, amount=1250, currency="EUR", payment_method=CARD)
    refund = {"charge": paid, "reference": charge.reference, "amount": 500, "currency": "EUR"}
    void, capture, refunded = uuid4(), uuid4(), uuid4()
    stripe.void(void, **held)
    stripe.capture(capture, **parts, amount=1000, currency="EUR", final=True)
    stripe.refund(refunded, **refund)
    fake.forget_keys()

    found = [
        stripe.cancel_charge(paid),
        stripe.cancel_void(void, reference=held["reference"]),
        stripe.cancel_capture(capture, reference=parts["reference"]),
        stripe.cancel_refund(refunded, **refund),
    ]

    assert [answer.outcome for answer in found] == ["approved"] * 4


@pytest.mark.processes
def test_a_fence_counts_once_a_lookup_has_confirmed_it(fake, stripe):
    held = authorize(stripe)
    refund = {"charge": uuid4(), "reference": held["reference"], "amount": 500, "currency": "EUR"}
    cancels = [
        (stripe.cancel_charge, {}),
        (stripe.cancel_void, {"reference": held["reference"]}),
        (stripe.cancel_capture, {"reference": held["reference"]}),
        (stripe.cancel_refund, refund),
    ]

    assert [cancel(uuid4(), **named).outcome for cancel, named in cancels] == ["cancelled"] * 4
