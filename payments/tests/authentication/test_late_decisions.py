"""Events about a challenge that has ended: by its time, by the worker's question, or by an earlier event."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from payments.models import Event
from payments.tests.authentication.conftest import CHALLENGED, Customer, answer_challenge, poll, state
from payments.tests.consistency import gateway_key

pytestmark = pytest.mark.processes

MONEY = {"amount": CHALLENGED, "currency": "EUR"}
APPROVED = MONEY | {"outcome": "approved", "reference": "gw_late", "code": None, "authentication": None}
DECLINED = MONEY | {"outcome": "declined", "reference": None, "code": "do_not_honor", "authentication": None}
LIABLE = {"authentication": {"outcome": "authenticated", "liability_shift": "merchant"}}


@dataclass
class Challenge:
    """A payment of this kind with a challenge, and the ways in which a challenge ends."""

    customer: Customer
    refusals: Callable[[], int]
    tamper: Callable[..., None]
    kind: str

    def __post_init__(self) -> None:
        self.payment, self.url = self.customer.challenge(capture=self.kind == "charge")

    def send(self, changes: dict[str, Any]) -> str | None:
        return self.customer.send_decision(self.payment, self.kind, **changes)[-1]

    def state(self) -> tuple[Any, ...]:
        """Return the payment's state and its journal. The books must agree."""
        self.customer.check_books()
        journal = Event.objects.filter(transaction_id=self.payment).order_by("id")
        return state(self.payment), list(journal.values_list("kind", "actor"))


def expire(challenge: Challenge) -> None:
    due = "UPDATE payments_authentication SET expires_at = now() WHERE transaction_id = %s"
    challenge.tamper(due, challenge.payment)
    poll(challenge.payment)


def be_cancelled(challenge: Challenge) -> None:
    """The gateway ends it, and the worker learns that by its question."""
    path = f"/v1/{challenge.kind}s/{gateway_key(challenge.payment)}/cancel"
    assert challenge.customer.gateway.request("POST", path).body["outcome"] == "cancelled"
    poll(challenge.payment)


def refuse_and_poll(challenge: Challenge) -> None:
    answer_challenge(challenge.url, "refuse")
    poll(challenge.payment)


def refuse_and_send(challenge: Challenge) -> None:
    answer_challenge(challenge.url, "refuse")
    challenge.send({})


def accept_and_poll(challenge: Challenge) -> None:
    answer_challenge(challenge.url, "accept")
    poll(challenge.payment)


def accept_and_send(challenge: Challenge) -> None:
    answer_challenge(challenge.url, "accept")
    challenge.send({})


@pytest.fixture
def ended(customer: Customer, refusals: Callable[[], int], tamper: Callable[..., None]) -> Callable[..., Challenge]:
    def make(kind: str, end: Callable[[Challenge], None]) -> Challenge:
        challenge = Challenge(customer, refusals, tamper, kind)
        end(challenge)
        assert state(challenge.payment)[0] != "requires_action"
        return challenge

    return make


@pytest.mark.parametrize("kind", ["charge", "authorization"])
@pytest.mark.parametrize(
    ("end", "agrees", "contradict"),
    [
        (expire, DECLINED, [APPROVED]),
        (be_cancelled, DECLINED, [APPROVED]),
        (refuse_and_poll, {}, [APPROVED]),
        (refuse_and_send, {}, [APPROVED]),
        (accept_and_poll, {}, [DECLINED, {"reference": "gw_late"}, {"amount": 1}, LIABLE]),
        (accept_and_send, {}, [DECLINED, {"reference": "gw_late"}, {"amount": 1}, LIABLE]),
    ],
)
def test_an_event_after_the_end_moves_nothing_and_is_loud_if_it_contradicts(ended, kind, end, agrees, contradict):
    challenge = ended(kind, end)
    before = challenge.state()

    assert challenge.send(agrees) == "ignored"
    assert [challenge.send(change) for change in contradict] == ["refused"] * len(contradict)

    assert challenge.state() == before
    assert challenge.refusals() == len(contradict)


def test_an_approval_that_names_a_failed_authentication_shifts_no_liability(customer):
    """The worker's question reads the same answer in the same way."""
    payment, url = customer.challenge()
    answer_challenge(url, "accept")

    failed = {"outcome": "failed", "liability_shift": "issuer"}
    assert customer.send_decision(payment, authentication=failed) == ["applied"]

    assert state(payment) == ("succeeded", "authenticated", "merchant")
    customer.check_books()


@pytest.mark.parametrize("order", ["approval first", "refusal first"])
def test_an_event_that_contradicts_an_earlier_one_is_refused(customer, refusals, order):
    payment, url = customer.challenge()
    changes = [DECLINED, APPROVED]
    if order == "approval first":
        answer_challenge(url, "accept")
        changes = [{}, DECLINED]

    outcomes = [customer.send_decision(payment, **change)[-1] for change in changes]

    assert (outcomes, refusals()) == (["applied", "refused"], 1)
    assert state(payment)[0] == ("succeeded" if order == "approval first" else "declined")
    customer.check_books()


@pytest.mark.parametrize("kind", ["charge", "authorization"])
def test_an_event_that_arrives_before_the_challenge_is_stored_waits(customer, tamper, kind):
    """The reply that asks for the challenge is still on its way, and the request holds the lease."""
    payment = customer.shop.pay(10_922, capture=kind == "charge").body.id
    tamper(
        "UPDATE payments_unresolved SET lease_token = gen_random_uuid(),"
        " lease_until = clock_timestamp() + interval '1 hour' WHERE resource_id = %s",
        payment,
    )

    assert customer.send_decision(payment, kind) == [None]

    tamper("UPDATE payments_unresolved SET lease_token = NULL WHERE resource_id = %s", payment)
    assert customer.sender.process() == ["applied"]
    customer.check_books()
