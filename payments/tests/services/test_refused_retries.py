"""Retries that the advice of a decline forbids: refused for merchants that want that, and for no other."""

import re
import secrets
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from loadtests.tests.simulator import Simulator
from payments.api.responses import STATUS_CODES
from payments.errors import Conflict, PaymentError
from payments.failures import FAILURES, REFUSED_FOR
from payments.fraud.velocity import forget_expired
from payments.models import IdempotencyKey, RefusedRetry, Transaction
from payments.schemas import BatchItem, PaymentInput, PaymentMethod
from payments.services.batches import create_batch
from payments.services.charges import charge, store
from payments.services.pending import Pending
from payments.services.results import Result
from payments.tests.consistency import check_books
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes
FUNDS, STOLEN, NO_REASON, ERROR = 1901, 1904, 1902, 1911  # what the simulator answers to these amounts
CARD = PaymentMethod("card", token="tok_visa")
LATER = r"insufficient_funds, whose advice is retry_later: try again after \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.$"
NEVER = r"lost_or_stolen, whose advice is do_not_retry: it is refused until [\dTZ:-]+\. Use another means of payment\.$"


@pytest.fixture(autouse=True)
def _strict(shop: Shop) -> None:
    shop.change_merchant(refuse_forbidden_retries=True)


def stored(shop: Shop) -> tuple[int, int]:
    """Return how many payments and keys there are."""
    return (
        Transaction.objects.filter(merchant=shop.merchant).count(),
        IdempotencyKey.objects.filter(merchant_id=shop.merchant.pk).count(),
    )


def refusal_of(shop: Shop, amount: int, **fields: Any) -> Conflict:
    before = stored(shop)
    with pytest.raises(Conflict) as refusal:
        shop.pay(amount, **fields)
    assert stored(shop) == before
    return refusal.value


@pytest.mark.parametrize(
    ("amount", "code", "text"), [(FUNDS, "retry_too_early", LATER), (STOLEN, "retry_forbidden", NEVER)]
)
@pytest.mark.parametrize("capture", [True, False])
def test_a_retry_is_refused_with_its_reason_and_its_time_and_nothing_is_stored(shop, amount, code, text, capture):
    assert shop.pay(amount, payment_method=CARD, capture=capture).body.status == "declined"

    refusal = refusal_of(shop, amount, payment_method=CARD)

    assert (STATUS_CODES[type(refusal)], refusal.code) == (409, code)
    assert re.search(text, refusal.detail), refusal.detail


def test_without_a_token_the_customer_is_the_same(shop):
    shop.pay(STOLEN)

    assert refusal_of(shop, STOLEN).code == "retry_forbidden"


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 2904},
        {"currency": "USD"},
        {"payment_method": PaymentMethod("card", token="tok_other")},
        {"payment_method": None},
    ],
)
def test_another_amount_currency_or_card_is_no_retry(shop, other):
    shop.pay(STOLEN, payment_method=CARD)

    assert shop.pay(**{"amount": STOLEN, "payment_method": CARD, **other}).body.status == "declined"


def test_a_payment_without_token_and_customer_is_never_a_retry(shop):
    assert [shop.pay(STOLEN, customer=None).body.status for _ in range(2)] == ["declined"] * 2


@pytest.mark.parametrize("amount", [NO_REASON, ERROR])
def test_other_failures_may_be_tried_again(shop, amount):
    statuses = {shop.pay(amount, payment_method=CARD).body.status for _ in range(2)}

    assert len(statuses) == 1
    assert statuses <= {"declined", "failed"}


def test_another_merchants_decline_does_not_count(shop):
    shop.pay(STOLEN, payment_method=CARD)
    other = Shop.open(refuse_forbidden_retries=True)

    assert other.pay(STOLEN, payment_method=CARD).body.status == "declined"


def test_a_merchant_that_does_not_want_it_may_retry(shop):
    shop.change_merchant(refuse_forbidden_retries=False)

    assert [shop.pay(STOLEN, payment_method=CARD).body.status for _ in range(2)] == ["declined"] * 2
    assert not RefusedRetry.objects.filter(merchant_id=shop.merchant.pk).exists()


def test_the_declined_payment_is_still_replayed(shop):
    key = secrets.token_hex(8)
    first = shop.pay(STOLEN, payment_method=CARD, key=key)
    replay = shop.pay(STOLEN, payment_method=CARD, key=key)

    assert (replay.status_code, replay.body.id) == (200, first.body.id)
    with pytest.raises(PaymentError) as refusal:
        shop.pay(STOLEN, payment_method=CARD, key=key, reference="other")
    assert refusal.value.code == "idempotency_key_reused"


def test_a_retry_may_be_sent_after_its_time(shop):
    shop.pay(FUNDS, payment_method=CARD)
    noted = RefusedRetry.objects.filter(merchant_id=shop.merchant.pk)
    assert noted.get().until > Transaction.objects.get(merchant=shop.merchant).settled_at
    noted.update(until=F("until") - REFUSED_FOR["insufficient_funds"])

    assert shop.pay(FUNDS, payment_method=CARD).body.status == "declined"
    assert refusal_of(shop, FUNDS, payment_method=CARD).code == "retry_too_early"  # it was declined again


def test_notes_whose_time_is_over_are_forgotten(shop):
    for amount in (FUNDS, STOLEN):
        shop.pay(amount, payment_method=CARD)
    noted = RefusedRetry.objects.filter(merchant_id=shop.merchant.pk)
    noted.filter(amount=FUNDS).update(until=Now())
    forget_expired()

    assert noted.get().failure_code == "lost_or_stolen"


def test_a_batch_refuses_its_retries_and_carries_out_the_others(shop, gateway: Simulator):
    shop.pay(STOLEN, payment_method=CARD)
    used = secrets.token_hex(8)
    shop.pay(STOLEN, payment_method=PaymentMethod("card", token="tok_used"), key=used)
    items = [
        BatchItem(STOLEN, "EUR", customer="c_1", payment_method=CARD, idempotency_key=secrets.token_hex(8)),
        BatchItem(1250, "EUR", customer="c_1", payment_method=CARD, idempotency_key=secrets.token_hex(8)),
        BatchItem(
            STOLEN,
            "EUR",
            customer="c_1",
            payment_method=PaymentMethod("card", token="tok_used"),
            idempotency_key=used,
        ),
    ]
    refused, paid, replayed = create_batch(principal=shop.principal, items=items)

    assert isinstance(refused, Conflict)
    assert refused.code == "retry_forbidden"
    assert isinstance(paid, Result)
    assert paid.operation.status == "succeeded"
    assert isinstance(replayed, Result)
    assert replayed.is_replay
    check_books(gateway, shop.merchant)


def test_a_decline_that_the_resolver_finds_is_noted(shop):
    body = PaymentInput(STOLEN, "EUR", customer="c_1", payment_method=CARD)
    pending = Pending.create(shop.principal, secrets.token_hex(8), body)
    assert store([pending], 0)
    assert charge(pending).outcome == "declined"  # then its process dies
    shop.resolve()

    assert Transaction.objects.get(id=pending.id).status == "declined"
    assert refusal_of(shop, STOLEN, payment_method=CARD).code == "retry_forbidden"


def test_every_refused_code_has_an_advice_that_forbids_a_retry():
    assert {FAILURES[code][1] for code in REFUSED_FOR} == {"retry_later", "do_not_retry"}
