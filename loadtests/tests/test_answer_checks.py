"""The load's own judgement: what it sends, and that it notices every kind of wrong answer."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import uuid4

import pytest

from loadtests.answer_checks import (
    Answer,
    WrongAnswer,
    check_batch,
    check_created,
    check_found,
    check_list,
    check_only_one,
    check_refund,
    check_replay,
)
from loadtests.gateway.outcomes import MAGIC
from loadtests.random_payments import SHARES, Payment, new_payment, ordinary

REPLAYED = {"Idempotency-Replayed": "true"}


def sent(amount: int = 1250) -> Payment:
    payment = new_payment(Random(1))
    payment.body["amount"] = amount
    return payment


def shown(payment: Payment, **changes) -> dict:
    """The payment as the service shows it when all is well."""
    payment.id = payment.id or str(uuid4())
    return payment.body | {
        "id": payment.id,
        "status": "succeeded",
        "amount_refunded": 0,
        "failure": None,
        "gateway_reference": "gw_1",
        "created_at": "2026-01-31T12:00:00Z",
        "settled_at": "2026-01-31T12:00:01Z",
        **changes,
    }


def unknown(payment: Payment) -> tuple[dict, dict]:
    body = shown(payment, status="unknown", settled_at=None, gateway_reference=None)
    return body, {"Location": f"/v1/transactions/{body['id']}", "Retry-After": "1"}


def test_ordinary_amounts_are_never_magic_and_the_shares_come_out():
    random = Random(7)

    amounts = [new_payment(random).body["amount"] for _ in range(20_000)]

    magic = Counter(amount % 1000 for amount in amounts if amount % 1000 >= 900)
    assert magic.keys() == SHARES.keys() <= MAGIC.keys()
    assert magic[901] / 20_000 == pytest.approx(SHARES[901], rel=0.2)
    assert min(amounts) > 0
    assert max(amounts) < 10**9


def test_payments_vary_and_every_key_is_new():
    random = Random(7)

    payments = [new_payment(random) for _ in range(500)]

    assert len({payment.key for payment in payments}) == 500
    assert {payment.body["currency"] for payment in payments} == {"EUR", "USD", "GBP", "JPY", "KWD"}
    assert len({payment.body["payment_method"]["country"] for payment in payments}) > 5


@pytest.mark.parametrize(
    ("amount", "expected"), [(1, 1), (899, 899), (900, 800), (999, 899), (1000, 1000), (5925, 5825)]
)
def test_an_ordinary_amount_keeps_clear_of_the_magic(amount, expected):
    assert ordinary(amount) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "declined", "failure": {"code": "do_not_honor", "message": ""}, "gateway_reference": None},
        {"status": "blocked", "failure": {"code": "fraud_blocked", "message": ""}, "gateway_reference": None},
        {"status": "failed", "failure": {"code": "processing_error", "message": ""}, "gateway_reference": None},
    ],
)
def test_every_final_outcome_is_accepted_with_201(changes):
    payment = sent()

    check_created(payment, Answer(201, {}, shown(payment, **changes)), first=True)

    assert payment.status == changes.get("status", "succeeded")


def test_an_unknown_outcome_is_accepted_with_202_and_may_settle_later():
    payment = sent()
    body, headers = unknown(payment)
    check_created(payment, Answer(202, headers, body), first=True)

    check_found(payment, Answer(200, {}, body), settled=False)
    check_found(payment, Answer(200, {}, shown(payment)), settled=True)

    assert payment.status == "succeeded"


@pytest.mark.parametrize("status", [0, 200, 301, 400, 401, 404, 409, 422, 429, 500, 502, 504])
def test_any_other_status_is_wrong_for_a_new_payment(status):
    payment = sent()

    with pytest.raises(WrongAnswer, match=f"status {status}"):
        check_created(payment, Answer(status, REPLAYED, shown(payment)), first=True)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"amount": 1251}, "amount"),
        ({"currency": "XXX"}, "currency"),
        ({"customer": "c_other"}, "customer"),
        ({"metadata": {}}, "metadata"),
        ({"status": "paid"}, "status is 'paid'"),
        ({"status": "unknown"}, "201, but unknown"),
        ({"gateway_reference": None}, "without gateway_reference"),
        ({"settled_at": None}, "without settled_at"),
        ({"failure": {"code": "x"}}, "failure"),
        ({"status": "declined"}, "failure"),
        ({"amount_refunded": 1}, "more was refunded"),
        ({"amount_refunded": -1}, "more was refunded"),
    ],
)
def test_a_wrong_field_is_noticed(changes, complaint):
    payment = sent()

    with pytest.raises(WrongAnswer, match=complaint):
        check_created(payment, Answer(201, {}, shown(payment, **changes)), first=True)


@pytest.mark.parametrize("body", [None, [], "text", b"<html>"])
def test_a_body_that_is_no_object_is_noticed(body):
    with pytest.raises(WrongAnswer, match="not a JSON object"):
        check_created(sent(), Answer(201, {}, body), first=True)


@pytest.mark.parametrize("ending", [901, 902, 903, 904, 911])
def test_success_of_an_amount_that_is_never_charged_is_noticed(ending):
    payment = sent(5000 + ending)

    with pytest.raises(WrongAnswer, match="never charges"):
        check_created(payment, Answer(201, {}, shown(payment)), first=True)


@pytest.mark.parametrize("missing", ["Location", "Retry-After"])
def test_202_must_say_where_and_when(missing):
    payment = sent()
    body, headers = unknown(payment)
    del headers[missing]

    with pytest.raises(WrongAnswer, match=f"without {missing}"):
        check_created(payment, Answer(202, headers, body), first=True)


def test_a_replay_is_marked_and_shows_the_same_payment():
    payment = sent()
    first = shown(payment)
    check_created(payment, Answer(201, {}, first), first=True)

    check_replay(payment, Answer(200, REPLAYED, first))

    for wrong in (
        Answer(200, {}, first),
        Answer(201, {}, first),
        Answer(200, REPLAYED, first | {"id": str(uuid4())}),
        Answer(200, REPLAYED, first | {"status": "failed"}),
    ):
        with pytest.raises(WrongAnswer):
            check_replay(payment, wrong)


def test_after_a_lost_answer_a_replay_is_as_good_as_a_creation():
    payment = sent()

    check_created(payment, Answer(200, REPLAYED, shown(payment)), first=False)

    with pytest.raises(WrongAnswer, match="201 with Idempotency-Replayed"):
        check_created(payment, Answer(201, REPLAYED, shown(payment)), first=False)


def test_a_payment_that_stays_unknown_is_noticed():
    payment = sent()
    body, _ = unknown(payment)

    with pytest.raises(WrongAnswer, match="still unknown"):
        check_found(payment, Answer(200, {}, body), settled=True)


@pytest.mark.parametrize("status", ["declined", "unknown"])
def test_a_final_status_that_changes_is_noticed(status):
    payment = sent()
    check_found(payment, Answer(200, {}, shown(payment)), settled=True)

    with pytest.raises(WrongAnswer, match="a final status changed"):
        check_found(payment, Answer(200, {}, shown(payment, status=status)), settled=False)


def refund(payment: Payment, **changes) -> dict:
    return {
        "id": str(uuid4()),
        "transaction": payment.id,
        "status": "succeeded",
        "amount": 400,
        "currency": payment.body["currency"],
        **changes,
    }


def test_a_refund_is_accepted_and_a_wrong_one_noticed():
    payment = sent()
    payment.id = "t"

    check_refund(payment, 400, Answer(201, {}, refund(payment)), first=True)
    check_refund(payment, 400, Answer(202, {}, refund(payment, status="unknown")), first=True)

    for wrong in (
        Answer(201, {}, refund(payment, amount=401)),
        Answer(201, {}, refund(payment, transaction="other")),
        Answer(201, {}, refund(payment, currency="XXX")),
        Answer(201, {}, refund(payment, status="unknown")),
        Answer(202, {}, refund(payment)),
        Answer(200, {}, refund(payment)),
        Answer(422, {}, {"code": "exceeds"}),
    ):
        with pytest.raises(WrongAnswer):
            check_refund(payment, 400, wrong, first=True)


def test_only_a_succeeded_payment_has_something_left_to_refund():
    payment = sent(1000)
    assert payment.left == 0

    payment.status, payment.refunded = "succeeded", 400

    assert payment.left == 600


def test_a_batch_is_judged_item_by_item():
    payments = [new_payment(Random(seed)) for seed in range(3)]
    for payment in payments:
        payment.body["amount"] = 1250
    results = [{"status_code": 201, "body": shown(payment)} for payment in payments]

    check_batch(payments, Answer(200, {}, {"results": results}), first=True)

    for wrong in (
        results[:2],
        [results[1], results[0], results[2]],
        [*results[:2], results[2] | {"status_code": 202}],
        [*results[:2], {"status_code": 422, "body": {}}],
        [*results[:2], results[2] | {"status_code": 200}],
        None,
    ):
        with pytest.raises(WrongAnswer):
            check_batch(payments, Answer(200, {}, {"results": wrong}), first=True)


def rows(*seconds_ago: int) -> list[dict]:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    return [{"id": str(uuid4()), "created_at": (now - timedelta(seconds=ago)).isoformat()} for ago in seconds_ago]


def test_a_list_is_newest_first_and_bounded():
    check_list(Answer(200, {}, {"data": rows(0, 1, 5), "next": None}), 50)
    check_list(Answer(200, {}, {"data": rows(0, 1, 5), "next": "/v1/transactions?cursor=x"}), 3)

    twice = rows(0) * 2
    wrong_pages: list[dict] = [
        {"data": rows(5, 0), "next": None},
        {"data": rows(0, 1, 2, 3), "next": None},
        {"data": twice, "next": None},
        {"data": [], "next": None},
        {"data": rows(0, 1)},
        {"data": rows(0), "next": "/v1/transactions?cursor=x"},
        {},
    ]
    for wrong in wrong_pages:
        with pytest.raises(WrongAnswer):
            check_list(Answer(200, {}, wrong), 3)


def test_one_key_finds_one_payment():
    payment = sent()
    check_only_one(payment, Answer(200, {}, {"data": [shown(payment)], "next": None}))

    wrong_lists: list[list[dict]] = [[], [shown(payment), shown(payment)], [shown(payment, id="other")]]
    for wrong in wrong_lists:
        with pytest.raises(WrongAnswer):
            check_only_one(payment, Answer(200, {}, {"data": wrong, "next": None}))
