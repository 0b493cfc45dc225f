"""The checks of the answers to a load: pure functions, so that the checks can be tested too."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from loadtests.random_payments import NEVER_CHARGED, Payment

FINAL = ("succeeded", "declined", "blocked", "failed")
OPEN = ("processing", "unknown")
REFUND_FINAL = ("succeeded", "failed")


class WrongAnswer(AssertionError):
    """The service sent a wrong answer; the message describes it."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any


def require(condition: object, what: str) -> None:
    if not condition:
        raise WrongAnswer(what)


def check_status(answer: Answer, allowed: tuple[int, ...]) -> None:
    detail = answer.body.get("detail") or answer.body.get("code") if isinstance(answer.body, dict) else None
    require(answer.status in allowed, f"status {answer.status}, not {allowed}: {detail}")
    require(isinstance(answer.body, dict), "the body is not a JSON object")


def check_payment(payment: Payment, body: Any) -> None:
    """Check that `body` is this payment and consistent, and note id and status."""
    require(isinstance(body, dict), "the payment is not a JSON object")
    for name in ("amount", "currency", "customer", "description", "reference", "metadata"):
        require(body.get(name) == payment.body[name], f"{name} is {body.get(name)!r}, sent {payment.body[name]!r}")
    status = body.get("status")
    require(status in FINAL + OPEN, f"status is {status!r}")
    require(payment.id in (None, body.get("id")), f"id is {body.get('id')!r}, was {payment.id!r}")
    if payment.status in FINAL:
        require(status == payment.status, f"a final status changed: {payment.status} became {status}")
    if status == "succeeded":
        require(payment.body["amount"] % 1000 not in NEVER_CHARGED, "succeeded, but the gateway never charges it")
        require(body.get("gateway_reference"), "succeeded without gateway_reference")
    if status in FINAL:
        require(body.get("settled_at"), f"{status} without settled_at")
        require((body.get("failure") is None) == (status == "succeeded"), f"{status}, failure {body.get('failure')}")
    require(0 <= body.get("amount_refunded", -1) <= payment.refunded, "more was refunded than was asked for")
    payment.id, payment.status = body["id"], status


def check_created(payment: Payment, answer: Answer, *, first: bool) -> None:
    """Check an answer to POST. If an earlier attempt got no answer, a replay is right too."""
    check_status(answer, (201, 202) if first else (200, 201, 202))
    check_payment(payment, answer.body)
    replayed = answer.headers.get("Idempotency-Replayed") == "true"
    require((payment.status in FINAL) == (answer.status != 202), f"{answer.status}, but {payment.status}")
    if answer.status == 200:
        require(replayed, "200 without Idempotency-Replayed")
    if answer.status == 201:
        require(not replayed, "201 with Idempotency-Replayed")
    if answer.status == 202:
        require(answer.headers.get("Location", "").endswith(payment.id or "/"), "202 without Location")
        require(answer.headers.get("Retry-After", "").isdigit(), "202 without Retry-After")


def check_replay(payment: Payment, answer: Answer, *, first: bool = False) -> None:
    """Check the answer to a request that was sent before, so that `first` makes no difference."""
    check_status(answer, (200, 202))
    check_created(payment, answer, first=False)


def check_found(payment: Payment, answer: Answer, *, settled: bool) -> None:
    """Check an answer to GET by id. `settled`: it was sent so long ago that it must have a final status."""
    check_status(answer, (200,))
    check_payment(payment, answer.body)
    require(payment.status in FINAL or not settled, f"still {payment.status} long after it was sent")


def check_refund(payment: Payment, amount: int, answer: Answer, *, first: bool) -> None:
    check_status(answer, (201, 202) if first else (200, 201, 202))
    body = answer.body
    require(body.get("transaction") == payment.id, f"transaction is {body.get('transaction')!r}")
    require(body.get("amount") == amount, f"amount is {body.get('amount')!r}, sent {amount}")
    require(body.get("currency") == payment.body["currency"], f"currency is {body.get('currency')!r}")
    allowed = OPEN if answer.status == 202 else REFUND_FINAL
    require(body.get("status") in allowed, f"{answer.status}, but {body.get('status')}")


def check_batch(payments: list[Payment], answer: Answer, *, first: bool) -> None:
    check_status(answer, (200,))
    results = answer.body.get("results")
    require(isinstance(results, list) and len(results) == len(payments), "not one result for each item")
    for payment, result in zip(payments, results, strict=True):
        allowed = (201, 202) if first else (200, 201, 202)
        require(result["status_code"] in allowed, f"an item has status {result['status_code']}: {result['body']}")
        check_payment(payment, result["body"])
        require((payment.status in FINAL) == (result["status_code"] != 202), "an item's status codes disagree")


def check_only_one(payment: Payment, answer: Answer) -> None:
    """Check that the list for one key contains only its payment."""
    check_status(answer, (200,))
    data = answer.body.get("data")
    require(isinstance(data, list) and len(data) == 1, "one key did not make one payment")
    check_payment(payment, data[0])


def check_list(answer: Answer, limit: int) -> None:
    """Check a list, newest first. A second of tolerance: rows that commit together may have begun in another order."""
    check_status(answer, (200,))
    data = answer.body.get("data")
    require(isinstance(data, list) and 0 < len(data) <= limit, f"data is not a list of 1 to {limit}")
    require(len({row["id"] for row in data}) == len(data), "a payment is listed twice")
    times = [datetime.fromisoformat(row["created_at"]) for row in data]
    ordered = all(later + timedelta(seconds=1) >= earlier for later, earlier in pairwise(times))
    require(ordered, "the list is not newest first")
    require(answer.body.get("next", "absent") is None or len(data) == limit, "next, but the page is not full")
