"""Races for the end of a challenge, on the real database: the gateway decides once, and one of us stores it once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from django.db import connection

from payments.models import Event, LedgerLeg, Transaction
from payments.services.challenges import Challenged, poll_one
from payments.tests.authentication.conftest import answer_challenge, poll, state
from payments.tests.consistency import gateway_key

pytestmark = pytest.mark.processes


def at_once(*calls: Callable[[], object]) -> None:
    """Begin all calls together, each in a thread with a connection of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        for turn in [threads.submit(run, call) for call in calls]:
            turn.result()


def challenged(payment: UUID, *, is_over: bool) -> Challenged:
    return Challenged(payment, False, "simulator", UUID(gateway_key(payment)), None, is_over, 1)


def ended_once(customer, payment: UUID) -> str:
    """Check that the payment has one result, one outcome and the legs of it. Returns its status."""
    status, outcome, _ = state(payment)
    kinds = list(Event.objects.filter(transaction_id=payment).order_by("id").values_list("kind", flat=True))
    assert kinds == ["processing", "requires_action", f"authentication_{outcome}", status]
    assert LedgerLeg.objects.filter(transaction_id=payment).exists() == (status == "succeeded")
    customer.check_books()
    return status


@pytest.mark.parametrize("answer", ["accept", "refuse"])
def test_the_event_and_two_workers_and_the_expiry_store_one_decision(customer, answer):
    payment, url = customer.challenge()
    answer_challenge(url, answer)
    asking, expiring = challenged(payment, is_over=False), challenged(payment, is_over=True)

    at_once(
        lambda: customer.send_decision(payment),
        lambda: poll_one(asking),
        lambda: poll_one(asking),
        lambda: poll_one(expiring),
    )

    assert ended_once(customer, payment) == ("succeeded" if answer == "accept" else "declined")


@pytest.mark.parametrize("attempt", range(3))
def test_a_customer_who_accepts_while_the_time_ends_is_charged_or_not_but_never_both(customer, attempt):
    payment, url = customer.challenge()
    expiring = challenged(payment, is_over=True)
    pages: list[int] = []

    at_once(lambda: pages.append(answer_challenge(url, "accept")), lambda: poll_one(expiring))
    poll(payment)

    status = ended_once(customer, payment)
    assert (status, pages) in (("succeeded", [303]), ("declined", [410]))


def test_a_worker_that_died_after_it_took_a_challenge_leaves_it_to_the_next(customer):
    payment, url = customer.challenge()
    answer_challenge(url, "accept")
    # Taken: `due_at` has moved on, and nothing else has changed.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_authentication SET attempts = 1 WHERE transaction_id = %s", [payment])
    assert Transaction.objects.get(id=payment).status == "requires_action"

    poll(payment)

    assert ended_once(customer, payment) == "succeeded"
