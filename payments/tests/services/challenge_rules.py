"""The rules of the state machine for 3-D Secure: customers who accept, refuse or leave, and workers that ask or die.

The gateway's event and the worker's question may come in any order, or at the same time.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, rule

from payments.gateway.base import Answer
from payments.gateway.registry import gateways
from payments.models import Authentication, Transaction
from payments.services import challenges
from payments.services.challenges import poll_due, poll_one, settle_challenge
from payments.states import AUTHORIZATION, CHARGE, Lifecycle
from payments.tests.authentication.conftest import BACK, answer_challenge
from payments.tests.services.acquirers import DECIDED
from payments.tests.services.gateway_event_rules import GatewayEventRules
from payments.tests.shop import CARD, Shop

# What the last three digits ask the simulator for: a challenge, or a result without one.
AUTHENTICATED_AMOUNTS = st.sampled_from([1941, 1941, 1941, 1942, 1943])
ANSWERS = st.sampled_from(["accept", "refuse", "abandon"])
IN_TIME, SOON = 300.0, 0.05


@dataclass(frozen=True)
class Challenged:
    payment: UUID
    url: str | None  # None if the gateway asked for no challenge


@dataclass(frozen=True)
class Learned:
    """The gateway's answer to a worker that has not stored it."""

    lifecycle: Lifecycle
    payment: UUID
    answer: Answer


class ChallengeRules(GatewayEventRules):
    """A part of the machine `Payments`, which has the shop, the gateway and the threads."""

    shop: Shop
    threads: ThreadPoolExecutor

    challenged = Bundle("challenged")
    learned = Bundle("learned")

    @rule(
        target=challenged,
        amount=AUTHENTICATED_AMOUNTS,
        capture=st.booleans(),
        seconds=st.sampled_from([IN_TIME, IN_TIME, SOON]),
    )
    def pay_with_authentication(self, amount: int, capture: bool, seconds: float) -> Challenged:
        return self.challenge(amount, capture=capture, seconds=seconds)

    def challenge(self, amount: int = 1941, *, seconds: float = IN_TIME, **fields: Any) -> Challenged:
        with self.acquirer.challenges_last(seconds):
            reply = self.shop.pay(amount, return_url=BACK, **{"payment_method": CARD, **fields}).body
        asked = reply.status == "requires_action"
        return Challenged(reply.id, reply.next_action.url if asked else None)

    @rule(challenge=challenged, answer=ANSWERS)
    def the_customer_answers(self, challenge: Challenged, answer: str) -> None:
        self._answer(challenge, answer)

    @rule(target=challenged, answer=ANSWERS, capture=st.booleans(), by=st.permutations(["event", "poll"]))
    def pay_with_authentication_and_go_on(self, answer: str, capture: bool, by: list[str]) -> Challenged:
        challenge = self.challenge(capture=capture)
        self._answer(challenge, answer)
        for way in by:
            self.learn_by_event(challenge) if way == "event" else self.a_worker_asks()
        return challenge

    def _answer(self, challenge: Challenged, answer: str) -> None:
        if challenge.url is not None:
            assert answer_challenge(challenge.url, answer) in (303, 410)

    # --- How we learn it -------------------------------------------------------------------------------------

    @rule()
    def a_worker_asks(self) -> None:
        self.open_challenges().update(due_at=Now())
        poll_due(self.threads)

    @rule(challenge=challenged)
    def the_gateway_announces_its_decision(self, challenge: Challenged) -> None:
        self._announce_decision(challenge.payment)

    @rule(challenge=challenged)
    def learn_by_event(self, challenge: Challenged) -> None:
        self._announce_decision(challenge.payment)
        self.all_events_arrive()

    @rule(challenge=challenged)
    def the_worker_finds_the_time_over(self, challenge: Challenged) -> None:
        """Its clock is ahead of the gateway's."""
        self.give_up(challenge.payment)

    @rule(challenge=challenged)
    def the_customer_accepts_while_the_time_ends(self, challenge: Challenged) -> None:
        turns = [
            self.threads.submit(self._answer, challenge, "accept"),
            self.threads.submit(self._in_thread_of_its_own, challenge.payment),
        ]
        for turn in turns:
            turn.result()

    @rule(target=learned, challenge=challenged)
    def a_worker_learns_the_decision_and_stops(self, challenge: Challenged) -> Learned:
        row = Transaction.objects.get(id=challenge.payment)
        gateway, reference = gateways.get(row.gateway), row.gateway_reference
        if row.manual_capture:
            return Learned(AUTHORIZATION, row.id, gateway.find_authorization(row.gateway_key, reference=reference))
        return Learned(CHARGE, row.id, gateway.find_charge(row.gateway_key, reference=reference))

    @rule(late=consumes(learned))
    def the_worker_goes_on(self, late: Learned) -> None:
        if late.answer.outcome in DECIDED and Authentication.objects.filter(transaction_id=late.payment).exists():
            settle_challenge(late.lifecycle, late.payment, late.answer, actor="worker")

    def give_up(self, payment: UUID) -> None:
        row = Transaction.objects.get(id=payment)
        if self.open_challenges().filter(transaction_id=payment).exists():
            named = row.gateway, row.gateway_key, row.gateway_reference
            poll_one(challenges.Challenged(row.id, row.manual_capture, *named, is_over=True, attempts=1))

    def _in_thread_of_its_own(self, payment: UUID) -> None:
        try:
            self.give_up(payment)
        finally:
            connection.close()

    def _announce_decision(self, payment: UUID) -> None:
        self.announce(self.acquirer.decision(payment))

    def open_challenges(self) -> Any:
        return Authentication.objects.filter(transaction__merchant=self.shop.merchant, outcome=None)
