"""The rules of the state machine for authorizations: captures in parts, voids, expiry, and processes that die.

Which request wins may depend on time. So a rule adds as many values to its bundle whatever the outcome, because
hypothesis must draw the same in each run.
"""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import override_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, multiple, rule

from payments.errors import PaymentError
from payments.gateway.base import Answer
from payments.gateway.registry import gateways
from payments.models import Capture, Void
from payments.schemas import CaptureInput, VoidInput
from payments.services.authorization_expiry import void_expired
from payments.services.captures import begin_capture, create_capture, settle_capture
from payments.services.operations import Request, take_key_and_begin
from payments.services.results import Result
from payments.services.voids import begin_void, create_void, settle_void
from payments.tests.shop import CARD, Shop

# What the last three digits ask the simulator for: see docs/gateway.md.
HELD_AMOUNTS = st.sampled_from([250, 250, 250, 901, 911, 922, 923, 924, 925]).map(lambda ending: 5000 + ending)
PARTS = st.sampled_from([None, 1, 250, 1000, 901, 911, 922, 923, 924, 925, 9999])
STEPS = st.sampled_from(
    [CaptureInput(1000, final=False), CaptureInput(922, final=False), CaptureInput(), VoidInput("out of stock")]
)
HOUR, SOON = 3600.0, 0.05
REFUSALS = (
    "not_authorized",
    "in_review",
    "authorization_closing",
    "authorization_expired",
    "capture_in_progress",
    "amount_exceeds_remaining",
    "request_in_flight",
)


@dataclass(frozen=True)
class Asked:
    """A capture or void, to be asked for again if it was accepted."""

    payment: UUID
    key: str
    body: CaptureInput | VoidInput
    is_accepted: bool = False


@dataclass(frozen=True)
class StrandedStep:
    """A capture or void whose process is gone."""

    operation: Capture | Void
    lease_token: UUID


def allow_refusal(problem: PaymentError, *codes: str) -> None:
    assert problem.code in (codes or REFUSALS), problem


class AuthorizationRules:
    """A part of the machine `Payments`, which has the shop and the threads."""

    shop: Shop
    threads: ThreadPoolExecutor

    held = Bundle("held")
    asked = Bundle("asked")
    stranded_steps = Bundle("stranded_steps")

    @rule(target=held, amount=HELD_AMOUNTS, seconds=st.sampled_from([HOUR, HOUR, SOON]))
    def authorize(self, amount: int, seconds: float) -> UUID:
        return self._authorize(amount, seconds)

    @rule(target=held, bodies=st.lists(STEPS, min_size=1, max_size=4))
    def authorize_and_go_on(self, bodies: list[CaptureInput | VoidInput]) -> UUID:
        payment = self._authorize(5250, HOUR)
        for body in bodies:
            self._ask(Asked(payment, secrets.token_hex(12), body))
        return payment

    def _authorize(self, amount: int, seconds: float) -> UUID:
        with override_settings(AUTHORIZATION_HOLD_SECONDS=seconds):
            reply = self.shop.pay(amount, capture=False, payment_method=CARD)
        assert reply.status_code == (202 if reply.body.status in ("unknown", "processing") else 201)
        return reply.body.id

    @rule(target=asked, payment=held, amount=PARTS, final=st.booleans())
    def capture(self, payment: UUID, amount: int | None, final: bool) -> Asked:
        return self._ask(Asked(payment, secrets.token_hex(12), CaptureInput(amount, final)))

    @rule(target=asked, payment=held)
    def void(self, payment: UUID) -> Asked:
        return self._ask(Asked(payment, secrets.token_hex(12), VoidInput("changed their mind")))

    @rule(step=asked)
    def ask_again(self, step: Asked) -> None:
        if not step.is_accepted:
            return
        before = self._count(step.payment)
        try:
            assert self._carry_out(step).is_replay
        except PaymentError as problem:
            allow_refusal(problem, "request_in_flight")
        assert self._count(step.payment) == before

    @rule(step=asked, amount=st.integers(10_000, 20_000))
    def ask_for_another_amount_with_the_same_key(self, step: Asked, amount: int) -> None:
        if not step.is_accepted:
            return
        with pytest.raises(PaymentError) as refusal:
            self._carry_out(Asked(step.payment, step.key, CaptureInput(amount)))
        assert refusal.value.code == "idempotency_key_reused"

    @rule(target=asked, payment=held, amount=PARTS)
    def race_a_capture_against_a_void(self, payment: UUID, amount: int | None) -> Any:
        steps = [
            Asked(payment, secrets.token_hex(12), CaptureInput(amount, final=False)),
            Asked(payment, secrets.token_hex(12), VoidInput()),
        ]
        turns = [self.threads.submit(self._in_thread, self._ask, step) for step in steps]
        return multiple(*(turn.result() for turn in turns))

    @rule()
    def expire(self) -> None:
        void_expired()

    # --- Processes that die, and what they would have done had they lived ------------------------------------

    @rule(target=stranded_steps, payment=held, amount=PARTS, final=st.booleans(), sent=st.booleans())
    def die_while_capturing(self, payment: UUID, amount: int | None, final: bool, sent: bool) -> StrandedStep | None:
        body = CaptureInput(amount, final)
        return self._die(Capture, begin_capture, payment, body, sent=sent)

    @rule(target=stranded_steps, payment=held, sent=st.booleans())
    def die_while_voiding(self, payment: UUID, sent: bool) -> StrandedStep | None:
        return self._die(Void, begin_void, payment, VoidInput(), sent=sent)

    @rule(late=consumes(stranded_steps))
    def wake_up_late_while_capturing_or_voiding(self, late: StrandedStep | None) -> None:
        if late is None:
            return
        operation = late.operation
        service = settle_capture if isinstance(operation, Capture) else settle_void
        service(operation.id, late.lease_token, self._send(operation), actor="api")

    def _die(
        self, model: type[Capture | Void], begin: Any, payment: UUID, body: Any, *, sent: bool
    ) -> StrandedStep | None:
        request = Request(self.shop.merchant.pk, payment, secrets.token_hex(12), body, "api")
        try:
            operation, lease_token, _ = take_key_and_begin(model, begin, request).args
        except PaymentError as problem:
            allow_refusal(problem)
            return None
        if sent:
            self._send(operation)
        return StrandedStep(operation, lease_token)

    @staticmethod
    def _send(operation: Capture | Void) -> Answer:
        payment = operation.transaction
        gateway = gateways.get(payment.gateway)
        named: Any = {"authorization": payment.gateway_key, "reference": payment.gateway_reference}
        if isinstance(operation, Void):
            return gateway.void(operation.gateway_key, **named)
        money: Any = {"amount": operation.amount, "currency": "EUR"}
        return gateway.capture(operation.gateway_key, **named, **money, final=operation.final)

    def _ask(self, step: Asked) -> Asked:
        try:
            outcome = self._carry_out(step)
        except PaymentError as problem:
            allow_refusal(problem)
            return step
        assert not outcome.is_replay
        return replace(step, is_accepted=True)

    def _carry_out(self, step: Asked) -> Result:
        request = {"merchant_id": self.shop.merchant.pk, "transaction_id": step.payment, "key": step.key}
        if isinstance(step.body, CaptureInput):
            return create_capture(**request, body=step.body)
        return create_void(**request, body=step.body)

    @staticmethod
    def _in_thread(function: Callable[[Asked], Asked], step: Asked) -> Asked:
        try:
            return function(step)
        finally:
            connection.close()

    @staticmethod
    def _count(payment: UUID) -> tuple[int, int]:
        rows = (model.objects.filter(transaction_id=payment).count() for model in (Capture, Void))
        captures, voids = rows
        return captures, voids
