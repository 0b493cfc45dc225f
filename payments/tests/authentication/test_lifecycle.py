"""Payments whose customer is to authenticate (3-D Secure): refusals first, then each result, by both of its ways."""

from functools import partial

import pytest
from django.db import IntegrityError, connection
from django.db.models.functions import Now

from payments.bodies import read
from payments.errors import InvalidRequest
from payments.gateway.http_gateway import HttpGateway
from payments.kpis.gateway_drift import measure_gateway_drift
from payments.ledger.reconciliation import reconcile
from payments.models import Authentication, Event, LedgerLeg, Transaction
from payments.schemas import BatchItem, PaymentInput
from payments.services.batches import create_batch
from payments.services.results import Result
from payments.tests.authentication.conftest import (
    BACK,
    CHALLENGED,
    EXEMPT,
    FRICTIONLESS,
    answer_challenge,
    poll,
    state,
)
from payments.tests.consistency import check_books

pytestmark = pytest.mark.processes


def kinds(payment) -> list[str]:
    return list(Event.objects.filter(transaction_id=payment).order_by("id").values_list("kind", flat=True))


@pytest.mark.parametrize("url", ["https://shop.example", "https://Shop.Example:443/x?y=z", "https://shop.example?a"])
def test_a_listed_host_is_recognised_however_it_is_written(secured, url):
    assert secured.pay(1250, return_url=url).body.status == "succeeded"


def test_a_merchant_without_return_hosts_can_send_no_return_url(shop):
    with pytest.raises(InvalidRequest, match="not a return host"):
        shop.pay(CHALLENGED, return_url=BACK)


@pytest.mark.parametrize("capture", [True, False])
def test_a_payment_without_a_return_url_is_declined_if_the_bank_insists(secured, gateway, capture):
    reply = secured.pay(CHALLENGED, capture=capture)

    assert (reply.status_code, reply.body.status) == (201, "declined")
    assert (reply.body.failure.code, reply.body.failure.advice) == (
        "authentication_required",
        "retry_with_other_method",
    )
    assert state(reply.body.id) == ("declined", None, None)
    check_books(gateway, secured.merchant)


def test_a_challenge_is_answered_202_with_the_address_of_the_page(secured, gateway):
    reply = secured.pay(CHALLENGED, return_url=BACK, key="once")

    assert (reply.status_code, reply.body.status) == (202, "requires_action")
    assert reply.headers["Location"] == f"/v1/transactions/{reply.body.id}"
    assert reply.body.next_action.type == "redirect"
    assert reply.body.next_action.url.startswith(gateway.url)
    assert kinds(reply.body.id) == ["processing", "requires_action"]
    check_books(gateway, secured.merchant)
    again = secured.pay(CHALLENGED, return_url=BACK, key="once")
    assert (again.status_code, again.headers["Idempotency-Replayed"], again.body) == (202, "true", reply.body)


def test_a_replay_with_another_return_url_is_refused(secured):
    secured.pay(CHALLENGED, return_url=BACK, key="key")

    with pytest.raises(InvalidRequest, match="return_url differs"):
        secured.pay(CHALLENGED, return_url=BACK + "1", key="key")
    with pytest.raises(InvalidRequest, match="return_url differs"):
        secured.pay(CHALLENGED, key="key")


def test_a_payment_is_replayed_also_if_its_return_host_was_removed_since(secured, gateway):
    first = secured.pay(1250, return_url=BACK, key="once")
    secured.change_merchant(return_hosts=[])

    again = secured.pay(1250, return_url=BACK, key="once")

    assert (again.status_code, again.headers["Idempotency-Replayed"], again.body) == (200, "true", first.body)
    with pytest.raises(InvalidRequest, match="customer differs"):
        secured.pay(1250, return_url=BACK, key="once", customer="c_2")
    with pytest.raises(InvalidRequest, match="not a return host"):
        secured.pay(1250, return_url=BACK, key="unused")
    check_books(gateway, secured.merchant)


def test_an_item_of_a_batch_is_replayed_also_if_its_return_host_was_removed_since(secured, gateway):
    first = secured.pay(1250, return_url=BACK, key="once")
    secured.change_merchant(return_hosts=[])
    urls = {"once": BACK, "unused": BACK, "without": None}
    items = [BatchItem(1250, "EUR", customer="c_1", return_url=urls[key], idempotency_key=key) for key in urls]

    replayed, refused, paid = create_batch(principal=secured.principal, items=items)

    assert isinstance(replayed, Result)
    assert (replayed.operation.id, replayed.is_replay) == (first.body.id, True)
    assert isinstance(refused, InvalidRequest)
    assert refused.code == "return_url_not_allowed"
    assert isinstance(paid, Result)
    assert (paid.operation.status, paid.is_replay) == ("succeeded", False)
    check_books(gateway, secured.merchant)


@pytest.mark.parametrize("learn", ["event", "poll"])
@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("charge", "accept", ("succeeded", "authenticated", "issuer")),
        ("authorization", "accept", ("authorized", "authenticated", "issuer")),
        ("charge", "refuse", ("declined", "failed", "merchant")),
        ("authorization", "refuse", ("declined", "failed", "merchant")),
    ],
)
def test_an_answered_challenge_settles_the_payment_once(customer, learn, kind, answer, expected):
    payment, url = customer.challenge(capture=kind == "charge")
    assert answer_challenge(url, answer) == 303

    if learn == "poll":
        poll(payment)
    assert customer.send_decision(payment, kind) == ["ignored" if learn == "poll" else "applied"]
    poll(payment)

    assert state(payment) == expected
    status, outcome, _ = expected
    assert kinds(payment) == ["processing", "requires_action", f"authentication_{outcome}", status]
    assert LedgerLeg.objects.filter(transaction_id=payment).exists() == (status == "succeeded")
    customer.check_books()


def test_a_challenge_that_the_customer_has_not_answered_stays_open(customer):
    payment, url = customer.challenge()
    assert answer_challenge(url, "abandon") == 303

    poll(payment)

    assert state(payment) == ("requires_action", None, None)
    assert Authentication.objects.get(transaction_id=payment).attempts > 0
    customer.check_books()


def test_money_that_moved_after_a_challenge_is_no_difference_before_we_learn_of_it(customer, gateway):
    client = HttpGateway(gateway.url, gateway.token)

    def drift() -> int:
        return measure_gateway_drift(client).get("NOK", 0)

    def is_missing(payment: object) -> bool:
        return str(payment) in {finding.resource for finding in reconcile(client).findings}

    before = drift()  # of other tests
    payment, url = customer.challenge(currency="NOK")
    answer_challenge(url, "accept")
    assert state(payment)[0] == "requires_action"
    assert min(before, 0) <= drift() <= max(before, 0)
    assert not is_missing(payment)

    poll(payment)
    assert (state(payment)[0], drift(), is_missing(payment)) == ("succeeded", before, False)


@pytest.mark.parametrize("capture", [True, False])
def test_an_abandoned_challenge_is_declined_after_its_time(customer, gateway, capture):
    gateway.profile(challenge_seconds=0)
    try:
        payment, url = customer.challenge(capture=capture)
        poll(payment)
    finally:
        gateway.profile(challenge_seconds=300)

    assert state(payment) == ("declined", "abandoned", "merchant")
    assert Transaction.objects.get(id=payment).failure_code == "authentication_expired"
    assert answer_challenge(url, "accept") == 410
    customer.check_books()


def test_a_challenge_that_is_over_here_first_is_cancelled_at_the_gateway(customer, tamper):
    payment, url = customer.challenge()
    tamper("UPDATE payments_authentication SET expires_at = now() WHERE transaction_id = %s", payment)

    poll(payment)

    assert state(payment) == ("declined", "abandoned", "merchant")
    assert answer_challenge(url, "accept") == 410
    customer.check_books()


def test_a_challenge_accepted_in_its_last_moment_succeeds_although_we_learn_it_later(customer, tamper):
    payment, url = customer.challenge()
    answer_challenge(url, "accept")
    tamper("UPDATE payments_authentication SET expires_at = now() WHERE transaction_id = %s", payment)

    poll(payment)

    assert state(payment) == ("succeeded", "authenticated", "issuer")
    customer.check_books()


@pytest.mark.parametrize(
    ("amount", "result"), [(FRICTIONLESS, ("frictionless", "issuer")), (EXEMPT, ("exempt", "merchant"))]
)
@pytest.mark.parametrize(("capture", "status"), [(True, "succeeded"), (False, "authorized")])
def test_a_payment_without_a_challenge_says_who_is_liable(customer, amount, result, capture, status):
    pay = partial(customer.shop.pay, amount, return_url=BACK, capture=capture, key=f"{amount}-{capture}")
    reply = pay()

    assert (reply.status_code, reply.body.status) == (201, status)
    assert (reply.body.authentication.outcome, reply.body.authentication.liability_shift) == result
    assert pay().body == reply.body
    assert kinds(reply.body.id) == ["processing", f"authentication_{result[0]}", status]
    customer.check_books()


@pytest.mark.parametrize("change", [{"amount": 1}, {"currency": "USD"}])
def test_an_event_about_other_money_ends_no_challenge(customer, change):
    payment, url = customer.challenge()
    answer_challenge(url, "accept")

    assert customer.send_decision(payment, **change) == ["refused"]
    assert state(payment)[0] == "requires_action"
    poll(payment)


def test_an_event_of_the_other_kind_ends_no_challenge(customer):
    payment, url = customer.challenge()
    answer_challenge(url, "accept")

    assert customer.send_decision(payment, named="authorization") == ["refused"]
    poll(payment)
    assert state(payment)[0] == "succeeded"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE payments_authentication SET outcome = 'failed', liability_shift = 'merchant'",
        "UPDATE payments_authentication SET outcome = NULL, liability_shift = NULL, decided_at = NULL, due_at = now()",
        "UPDATE payments_authentication SET expires_at = now() + interval '1 day'",
        "DELETE FROM payments_authentication",
    ],
)
def test_the_database_refuses_a_second_decision(customer, change):
    payment, url = customer.challenge()
    answer_challenge(url, "accept")
    poll(payment)

    with pytest.raises(Exception, match=r"cannot change|permission denied"):
        _execute(f"{change} WHERE transaction_id = %s", payment)
    assert state(payment) == ("succeeded", "authenticated", "issuer")


@pytest.mark.parametrize("status", ["authorized", "succeeded", "requires_action"])
def test_the_database_refuses_to_go_on_after_the_expiry_was_decided(customer, tamper, status):
    payment, _ = customer.challenge(capture=status != "authorized")
    tamper("UPDATE payments_authentication SET expires_at = now() WHERE transaction_id = %s", payment)
    poll(payment)

    with pytest.raises(IntegrityError, match=f"that is declined cannot become {status}"):
        Transaction.objects.filter(id=payment).update(status=status, settled_at=Now())


@pytest.mark.parametrize("status", ["succeeded", "declined", "failed", "authorized"])
def test_the_database_refuses_a_payment_that_goes_on_while_its_challenge_is_open(customer, status):
    customer.shop.change_merchant(fee_basis_points=0)
    payment, _ = customer.challenge(capture=status != "authorized")
    times = {"capture_before": Now()} if status == "authorized" else {"settled_at": Now()}

    with pytest.raises(IntegrityError, match=f"whose challenge is open cannot become {status}"):
        Transaction.objects.filter(id=payment).update(status=status, **times)

    assert state(payment) == ("requires_action", None, None)


def test_a_payment_without_a_challenge_asks_for_none(shop):
    """The condition of the trigger is false for it, so its function is not called."""
    with connection.cursor() as cursor:
        plain = "EXPLAIN (ANALYZE) UPDATE payments_transaction SET status = status WHERE id = %s"
        cursor.execute(plain, [shop.pay().body.id])
        called = [line for (line,) in cursor.fetchall() if line.startswith("Trigger")]

    assert not [line for line in called if "refuse_open_challenge" in line]


@pytest.mark.parametrize("outcome", ["authenticated", "failed"])
def test_the_database_refuses_a_result_while_the_payment_waits(customer, outcome):
    payment, _ = customer.challenge()

    with pytest.raises(IntegrityError, match="requires_action cannot have an authentication"):
        _execute(
            "UPDATE payments_authentication SET outcome = %s, liability_shift = 'merchant', decided_at = now(),"
            " due_at = NULL WHERE transaction_id = %s",
            outcome,
            payment,
        )


def _execute(statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_a_body_with_a_return_url_is_read(merchant):
    body = b'{"amount": 1, "currency": "EUR", "return_url": "https://shop.example/"}'

    assert read(body, PaymentInput).return_url == "https://shop.example/"
