"""Random sequences of all that can happen to payments, against the real database and the real process of a gateway:
the simulator, or the fake of Stripe.

Requests, replays, altered bodies, authorizations with captures, voids and expiry, 3-D Secure, fraud reviews, disputes,
refunds, batches, every fault of the gateway, its events in any order, resolvers that come too early or die, processes
that die before or after the gateway's answer, and answers that come when all is decided. After each step the books must
be right in themselves; at the end of each sequence they must be the gateway's, to the minor unit, and the counters must
equal the rows.
"""

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from fintech.testing.processes import IN_FULL, wait_until
from payments.errors import PaymentError
from payments.gateway.base import Answer
from payments.gateway.registry import gateways
from payments.ledger.consistency import check_ledger
from payments.models import Authentication, Capture, Dispute, Refund, Transaction, Unresolved, Void
from payments.schemas import BatchItem, PaymentInput, RefundInput
from payments.services import refunds as refund_service
from payments.services.batches import create_batch
from payments.services.charges import charge, settle_payments
from payments.services.operations import Request, take_key_and_begin
from payments.services.pending import Pending, stored_row
from payments.services.resolution import acquire_leases, resolve_due
from payments.services.results import Result
from payments.storage.group_commit import writer
from payments.storage.payment_sql import Part
from payments.tests.authentication.conftest import BACK, HOST, answer_challenge
from payments.tests.consistency import check_books, own_counters_equal_rows
from payments.tests.services.acquirers import AtSimulator
from payments.tests.services.authorization_rules import AuthorizationRules
from payments.tests.services.challenge_rules import Challenged, ChallengeRules
from payments.tests.services.dispute_rules import AMOUNTS as DISPUTED_AMOUNTS
from payments.tests.services.dispute_rules import Disputed, DisputeRules
from payments.tests.services.review_rules import REVIEW_THRESHOLD, ReviewRules
from payments.tests.shop import CARD, Shop

# What the last three digits ask the simulator for: see docs/gateway.md.
ENDINGS = [250, 250, 250, 901, 911, 912, 913, 922, 923, 924, 925]
AMOUNTS = st.sampled_from(ENDINGS).map(lambda ending: 1000 + ending)
FAULTS = st.sampled_from(["decline_ratio", "error_ratio", "unavailable_ratio", "lose_reply_ratio", "drop_ratio"])
FINAL = (*Transaction.FINAL, *Dispute.FINAL)


@dataclass(frozen=True)
class Paid:
    key: str
    amount: int
    id: UUID


@dataclass(frozen=True)
class Stranded:
    """A payment whose process is gone; `answer` if the gateway had answered it."""

    pending: Pending
    answer: Answer | None


@dataclass(frozen=True)
class StrandedRefund:
    refund: Refund
    lease_token: UUID


def expect(problem: PaymentError, *codes: str) -> None:
    assert problem.code in codes, problem


class Payments(ReviewRules, DisputeRules, RuleBasedStateMachine):
    paid = Bundle("paid")
    refunded = Bundle("refunded")
    stranded = Bundle("stranded")
    stranded_refunds = Bundle("stranded_refunds")

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop.open()
        self.shop.change_merchant(return_hosts=[HOST], review_threshold=REVIEW_THRESHOLD)
        self.sender, self.outbox = self.acquirer.sender(), []
        self.acquirer.news()  # of an earlier sequence
        self.decided: dict[Any, str] = {}
        self.plain_gateway()
        self.threads = ThreadPoolExecutor(4)

    # --- Requests ------------------------------------------------------------------------------------------

    @rule(target=paid, amount=AMOUNTS)
    def pay(self, amount: int) -> Paid:
        key = secrets.token_hex(12)
        reply = self.shop.pay(amount, key=key, payment_method=CARD)
        assert reply.status_code == (201 if reply.body.status in Transaction.FINAL else 202)
        return Paid(key, amount, reply.body.id)

    @rule(payment=paid)
    def pay_again(self, payment: Paid) -> None:
        try:
            reply = self.shop.pay(payment.amount, key=payment.key, payment_method=CARD)
        except PaymentError as problem:
            expect(problem, "request_in_flight")
            return
        assert reply.body.id == payment.id
        assert reply.status_code == (200 if reply.body.status in Transaction.FINAL else 202)
        assert reply.headers["Idempotency-Replayed"] == "true"

    @rule(payment=paid)
    def pay_another_amount_with_the_same_key(self, payment: Paid) -> None:
        with pytest.raises(PaymentError) as refusal:
            self.shop.pay(payment.amount + 1, key=payment.key, payment_method=CARD)
        assert (refusal.value.code, refusal.value.param) == ("idempotency_key_reused", "amount")

    @rule(target=paid, amounts=st.lists(AMOUNTS, min_size=1, max_size=4), old=paid)
    def pay_in_a_batch(self, amounts: list[int], old: Paid) -> Any:
        keys = [secrets.token_hex(12) for _ in amounts]
        items = [
            BatchItem(amount, "EUR", "c_1", payment_method=CARD, idempotency_key=key)
            for key, amount in zip(keys, amounts, strict=True)
        ]
        again = BatchItem(old.amount, "EUR", "c_1", payment_method=CARD, idempotency_key=old.key)
        twice = [items[0], again]
        replies = create_batch(principal=self.shop.principal, items=[*items, *twice])
        found = [result.operation for result in replies[: len(items)] if isinstance(result, Result)]
        paid = [Paid(key, amount, body.id) for key, amount, body in zip(keys, amounts, found, strict=True)]
        for reply, first in zip(replies[len(items) :], (paid[0], old), strict=True):
            assert isinstance(reply, PaymentError) or reply.operation.id == first.id
        return multiple(*paid)

    @rule(target=refunded, payment=paid, amount=st.one_of(st.none(), AMOUNTS, st.sampled_from([1, 100, 922, 924])))
    def refund(self, payment: Paid, amount: int | None) -> tuple[str, Paid, int | None] | None:
        return self._refund(payment, amount)

    def _refund(self, payment: Paid, amount: int | None) -> tuple[str, Paid, int | None] | None:
        key = secrets.token_hex(12)
        try:
            self.shop.refund(payment.id, amount, key=key)
        except PaymentError as problem:
            expect(problem, "not_refundable", "amount_exceeds_remaining", "transaction_disputed")
            return None
        return key, payment, amount

    @rule(refund=refunded)
    def refund_again(self, refund: tuple[str, Paid, int | None] | None) -> None:
        if refund is None:
            return
        key, payment, amount = refund
        before = Refund.objects.filter(transaction_id=payment.id).count()
        try:
            self.shop.refund(payment.id, amount, key=key)
        except PaymentError as problem:
            expect(problem, "request_in_flight")
        assert Refund.objects.filter(transaction_id=payment.id).count() == before

    # --- Processes that die, and what they would have done had they lived --------------------------------------

    @rule(target=stranded, amount=st.one_of(AMOUNTS, st.sampled_from([1941, 1942])), answered=st.booleans())
    def die_while_paying(self, amount: int, answered: bool) -> Stranded:
        body = PaymentInput(amount, "EUR", "c_1", payment_method=CARD, return_url=BACK)
        pending = Pending.create(self.shop.principal, secrets.token_hex(12), body)
        stored = writer.write(Part.CREATED, [stored_row(pending, 60)])
        pending.mark_stored(stored[pending.id])
        return Stranded(pending, charge(pending) if answered else None)

    @rule(late=consumes(stranded))
    def wake_up_late(self, late: Stranded) -> None:
        answer = late.answer or charge(late.pending)
        (shown,) = settle_payments([(late.pending, answer)])
        stored = Transaction.objects.get(id=late.pending.id)
        assert shown.status in (stored.status, "unknown")

    @rule(late=stranded)
    def a_customer_answers_although_the_process_died(self, late: Stranded) -> None:
        if late.answer is not None and late.answer.challenge is not None:
            assert answer_challenge(late.answer.challenge.url, "accept") in (303, 410)

    @rule(
        target=refunded,
        payment=AuthorizationRules.held,
        amount=st.one_of(st.none(), AMOUNTS, st.sampled_from([1, 100, 922, 924])),
    )
    def refund_captured_parts(self, payment: UUID, amount: int | None) -> tuple[str, Paid, int | None] | None:
        return self._refund(Paid("", 0, payment), amount)

    @rule(target=stranded_refunds, payment=paid, amount=st.sampled_from([1, 922]), asked=st.booleans())
    def die_while_refunding(self, payment: Paid, amount: int, asked: bool) -> StrandedRefund | None:
        request = Request(self.shop.merchant.pk, payment.id, secrets.token_hex(12), RefundInput(amount), "api")
        try:
            refund, lease_token, _ = take_key_and_begin(Refund, refund_service.begin_refund, request).args
        except PaymentError:
            return None
        if asked:
            self.ask_for(refund)
        return StrandedRefund(refund, lease_token)

    @rule(late=consumes(stranded_refunds))
    def wake_up_late_while_refunding(self, late: StrandedRefund | None) -> None:
        if late is None:
            return
        refund_service.settle_refund(late.refund.id, late.lease_token, self.ask_for(late.refund), actor="api")

    def ask_for(self, refund: Refund) -> Answer:
        payment = refund.transaction
        named = {"charge": payment.gateway_key, "reference": payment.gateway_reference}
        money: Any = {"amount": refund.amount, "currency": "EUR"}
        return gateways.get(payment.gateway).refund(refund.gateway_key, **named, **money)

    # --- Disputes --------------------------------------------------------------------------------------------

    @rule(target=DisputeRules.disputed, payment=paid, amount=DISPUTED_AMOUNTS, asks=st.booleans())
    def dispute_a_charge(self, payment: Paid, amount: int | None, asks: bool) -> Disputed | None:
        return self.dispute(payment.id, amount, request_evidence=asks)

    @rule(target=DisputeRules.disputed, payment=AuthorizationRules.held, amount=DISPUTED_AMOUNTS)
    def dispute_captured_parts(self, payment: UUID, amount: int | None) -> Disputed | None:
        return self.dispute(payment, amount)

    @rule(target=DisputeRules.disputed, challenge=ChallengeRules.challenged, seconds=st.sampled_from([0, 600]))
    def dispute_an_authenticated_payment(self, challenge: Challenged, seconds: int) -> Disputed | None:
        return self.dispute(challenge.payment, evidence_seconds=seconds)

    # --- The resolver ----------------------------------------------------------------------------------------

    @rule()
    def leases_run_out(self) -> None:
        self.open_work().update(lease_until=Now())

    @rule()
    def resolve(self) -> None:
        resolve_due(self.threads)

    def all_is_settled(self) -> bool:
        self.leases_run_out()
        self.resolve()
        return not self.open_work().exists()

    @rule()
    def the_process_starts_again(self) -> None:
        writer.disconnect()

    @rule()
    def a_resolver_takes_leases_and_dies(self) -> None:
        acquire_leases()

    # --- The gateway -----------------------------------------------------------------------------------------

    @rule(fault=FAULTS, ratio=st.sampled_from([0.5, 1]))
    def the_gateway_fails(self, fault: str, ratio: float) -> None:
        self.plain_gateway()
        self.acquirer.process.profile(**{fault: ratio})

    @rule()
    def the_gateway_does_not_even_cancel(self) -> None:
        self.acquirer.process.profile(cancel_fails=True)

    @rule()
    def plain_gateway(self) -> None:
        self.acquirer.process.reset_profile(hold_seconds=0.1, seed=1)
        self.acquirer.connect()

    # --- What must be true -----------------------------------------------------------------------------------

    def open_work(self) -> Any:
        ours = Transaction.objects.filter(merchant=self.shop.merchant).values("id")
        return Unresolved.objects.filter(transaction_id__in=ours)

    @invariant()
    def the_books_are_right(self) -> None:
        findings = [finding for _, found in check_ledger([self.shop.merchant.pk]) for finding in found]
        assert not findings

    @invariant()
    def what_was_decided_stays(self) -> None:
        rows = dict(Transaction.objects.filter(merchant=self.shop.merchant).values_list("id", "status"))
        for model in (Refund, Capture, Void, Dispute):
            rows |= dict(model.objects.filter(transaction__merchant=self.shop.merchant).values_list("id", "status"))
        now: dict[Any, Any] = {id: status for id, status in rows.items() if status in FINAL}
        answered = Authentication.objects.filter(transaction__merchant=self.shop.merchant).exclude(outcome=None)
        now |= {("authentication", id): outcome for id, outcome in answered.values_list("pk", "outcome")}
        assert self.decided.items() <= now.items()
        self.decided = now

    def teardown(self) -> None:
        self.plain_gateway()
        wait_until(self.all_is_settled, 60, "the end of all operations")
        for payment in self.open_challenges().values_list("pk", flat=True):
            self.give_up(payment)
        sent = None
        while sent != len(self.outbox) or self.undelivered().exists() or self.waiting_events():
            sent = len(self.outbox)
            self.all_events_arrive()
            self.responses_are_delivered()
        self.threads.shutdown()
        self.assert_disputes_are_the_gateways()
        check_books(self.acquirer.process, self.shop.merchant)
        assert own_counters_equal_rows()


def run(acquirer: AtSimulator, *, examples: int) -> None:
    Payments.acquirer = acquirer
    run_state_machine_as_test(
        Payments,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40 if IN_FULL else 30,
            derandomize=not IN_FULL,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
