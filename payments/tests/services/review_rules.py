"""The rules of the state machine for fraud reviews: held, accepted or refused once, expired, and processes that die."""

import secrets
from dataclasses import dataclass, replace
from uuid import UUID

from django.db import connection
from django.test import override_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, multiple, rule

from payments.errors import PaymentError
from payments.models import Review, Unresolved
from payments.schemas import PaymentMethod, ReviewInput
from payments.services.operations import Request, take_key_and_begin
from payments.services.results import Result
from payments.services.reviews import begin_decision, decide_review
from payments.tests.services.authorization_rules import (
    HELD_AMOUNTS,
    HOUR,
    SOON,
    AuthorizationRules,
    StrandedStep,
    allow_refusal,
)
from payments.tests.services.challenge_rules import Challenged, ChallengeRules

REVIEW_THRESHOLD = 0.5
RISKY = PaymentMethod("card", token="tok_risky", country="DE")
DECISIONS = st.sampled_from(list(Review.Decision.values))
REFUSALS = ("not_in_review", "authorization_expired", "authorization_closing", "capture_in_progress")


@dataclass(frozen=True)
class Decided:
    """A decision of an operator, to be sent again if it was accepted."""

    payment: UUID
    key: str
    decision: str
    is_accepted: bool = False


class ReviewRules(AuthorizationRules, ChallengeRules):
    """A part of the machine `Payments`, which has the shop and the threads."""

    reviewed = Bundle("reviewed")
    decisions = Bundle("decisions")

    @rule(
        targets=(AuthorizationRules.held, reviewed),
        amount=HELD_AMOUNTS,
        capture=st.booleans(),
        seconds=st.sampled_from([HOUR, HOUR, SOON]),
    )
    def hold_for_review(self, amount: int, capture: bool, seconds: float) -> UUID:
        return self._hold(amount, capture=capture, seconds=seconds)

    @rule(target=decisions, decision=DECISIONS, capture=st.booleans(), seconds=st.sampled_from([HOUR, SOON]))
    def hold_and_decide(self, decision: str, capture: bool, seconds: float) -> Decided:
        payment = self._hold(5250, capture=capture, seconds=seconds)
        return self._decide(Decided(payment, secrets.token_hex(12), decision))

    @rule(targets=(AuthorizationRules.held, reviewed), challenge=ChallengeRules.challenged)
    def watch_a_payment_with_authentication(self, challenge: Challenged) -> UUID:
        """It may be in review or authorized, or become so."""
        return challenge.payment

    @rule(target=ChallengeRules.challenged, capture=st.booleans())
    def pay_with_authentication_and_risk(self, capture: bool) -> Challenged:
        return self.challenge(payment_method=RISKY, capture=capture)

    def _hold(self, amount: int, *, capture: bool, seconds: float) -> UUID:
        with override_settings(AUTHORIZATION_HOLD_SECONDS=seconds):
            reply = self.shop.pay(amount, payment_method=RISKY, capture=capture)
        assert reply.body.status not in ("succeeded", "authorized")
        return reply.body.id

    @rule(target=decisions, payment=reviewed, decision=DECISIONS)
    def decide(self, payment: UUID, decision: str) -> Decided:
        return self._decide(Decided(payment, secrets.token_hex(12), decision))

    @rule(decided=decisions)
    def decide_again(self, decided: Decided) -> None:
        if not decided.is_accepted:
            return
        before = Review.objects.filter(transaction_id=decided.payment).count()
        assert self._carry_out_decision(decided).is_replay
        assert Review.objects.filter(transaction_id=decided.payment).count() == before

    @rule(target=decisions, payment=reviewed)
    def accept_and_refuse_at_the_same_time(self, payment: UUID) -> object:
        decisions = [Decided(payment, secrets.token_hex(12), decision) for decision in Review.Decision.values]
        turns = [self.threads.submit(self._decide_in_thread, decided) for decided in decisions]
        return multiple(*(turn.result() for turn in turns))

    @rule(target=AuthorizationRules.stranded_steps, payment=reviewed, decision=DECISIONS, sent=st.booleans())
    def die_while_deciding(self, payment: UUID, decision: str, sent: bool) -> StrandedStep | None:
        """Before the gateway was asked, or after it has answered."""
        body = ReviewInput(decision=decision)
        request = Request(self.shop.merchant.pk, payment, secrets.token_hex(12), body, "api")
        try:
            review, carry_out = take_key_and_begin(Review, begin_decision, request).args
        except PaymentError as problem:
            allow_refusal(problem, *REFUSALS)
            return None
        if carry_out is None:
            return None
        assert review.operation is not None
        if sent:
            self._send(review.operation)
        lease_token = Unresolved.objects.get(resource_id=review.id).lease_token
        assert lease_token is not None
        return StrandedStep(review.operation, lease_token)

    def _decide(self, decided: Decided) -> Decided:
        try:
            outcome = self._carry_out_decision(decided)
        except PaymentError as problem:
            allow_refusal(problem, *REFUSALS)
            return decided
        assert not outcome.is_replay
        return replace(decided, is_accepted=True)

    def _decide_in_thread(self, decided: Decided) -> Decided:
        try:
            return self._decide(decided)
        finally:
            connection.close()

    def _carry_out_decision(self, decided: Decided) -> Result:
        body = ReviewInput(decision=decided.decision)
        merchant = self.shop.merchant.pk
        return decide_review(merchant_id=merchant, transaction_id=decided.payment, key=decided.key, body=body)
