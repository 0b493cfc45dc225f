"""The rules of the state machine for disputes: the bank, the merchant, and the worker between them, which may die."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, rule

from payments.errors import PaymentError
from payments.gateway.registry import gateways
from payments.models import Dispute, DisputeResponse
from payments.services.disputes import accept_dispute, deliver_responses, submit_evidence
from payments.tests.services.authorization_rules import allow_refusal
from payments.tests.services.gateway_event_rules import GatewayEventRules
from payments.tests.shop import Shop

AMOUNTS = st.sampled_from([None, None, 1, 250, 922])
DECISIONS = st.sampled_from(["needs_response", "won", "lost", "pre_arbitration", "warning_closed"])
STEPS = st.sampled_from(["events", "evidence", "delivery", "pre_arbitration", "won", "lost"])
# The usual way to each end, with everything in its order.
LIVES = st.sampled_from(
    [
        ["evidence", "delivery", "events", "won", "events"],
        ["evidence", "delivery", "events", "pre_arbitration", "events", "evidence", "delivery", "events"],
        ["evidence", "delivery", "lost"],
        ["acceptance", "delivery"],
    ]
)
FILES = [{"name": "receipt.pdf", "sha256": "a" * 64, "size": 100}]


@dataclass(frozen=True)
class Disputed:
    name: str  # at the gateway


class DisputeRules(GatewayEventRules):
    """A part of the machine `Payments`, which has the shop and the gateway."""

    shop: Shop

    disputed = Bundle("disputed")

    def dispute(self, payment: UUID, amount: int | None = None, **fields: Any) -> Disputed | None:
        name, events = self.acquirer.dispute(payment, **fields, **({} if amount is None else {"amount": amount}))
        self.announce(events)
        return Disputed(name) if name else None

    @rule(disputed=disputed, steps=st.one_of(LIVES, st.lists(STEPS, min_size=1, max_size=6)))
    def a_dispute_goes_on(self, disputed: Disputed | None, steps: list[str]) -> None:
        actions = {
            "events": self.all_events_arrive,
            "evidence": lambda: self._respond(disputed, "evidence"),
            "acceptance": lambda: self._respond(disputed, "acceptance"),
            "delivery": self.responses_are_delivered,
        }
        for step in steps:
            if step in actions:
                actions[step]()
            else:
                self._decide_dispute(disputed, step)

    # --- The bank --------------------------------------------------------------------------------------------

    @rule(disputed=disputed, state=DECISIONS)
    def the_bank_decides(self, disputed: Disputed | None, state: str) -> None:
        self._decide_dispute(disputed, state)

    def _decide_dispute(self, disputed: Disputed | None, state: str) -> None:
        if disputed is not None:
            self.announce(self.acquirer.decide(disputed.name, state))

    # --- The merchant ----------------------------------------------------------------------------------------

    @rule(disputed=disputed, kind=st.sampled_from(list(DisputeResponse.Kind.values)))
    def the_merchant_responds(self, disputed: Disputed | None, kind: str) -> None:
        self._respond(disputed, kind)

    def _respond(self, disputed: Disputed | None, kind: str) -> None:
        """Send a new text in each round: an equal one repeats the response to the first."""
        if disputed is None:
            return
        dispute = Dispute.objects.filter(gateway_key=self.acquirer.key_of(disputed.name)).first()
        if dispute is None:
            return
        request: dict[str, Any] = {"merchant_id": self.shop.merchant.pk, "dispute_id": dispute.pk}
        try:
            if kind == "evidence":
                submit_evidence(**request, text=f"It was delivered: {dispute.responses.count()}.", files=FILES)
            else:
                accept_dispute(**request)
        except PaymentError as problem:
            allow_refusal(problem, "not_awaiting_response", "evidence_overdue")

    # --- The worker ------------------------------------------------------------------------------------------

    @rule()
    def responses_are_delivered(self) -> None:
        self.undelivered().update(due_at=Now())
        deliver_responses()
        self._announce_all_disputes()

    @rule()
    def the_worker_dies_after_the_gateway_took_a_response(self) -> None:
        gateway = gateways.get(self.acquirer.name)
        for response in self.undelivered().select_related("dispute__transaction"):
            dispute = response.dispute
            named: Any = {"dispute": dispute.gateway_key, "reference": dispute.transaction.gateway_reference}
            if response.kind == DisputeResponse.Kind.EVIDENCE:
                gateway.submit_evidence(response.gateway_key, **named, text=response.text, files=response.files)
            else:
                gateway.accept_dispute(response.gateway_key, **named)
        self._announce_all_disputes()

    def _announce_all_disputes(self) -> None:
        """Announce what the responses have changed: each changes a dispute once."""
        for dispute in Dispute.objects.filter(merchant=self.shop.merchant):
            self.announce(self.acquirer.described(dispute))

    def undelivered(self) -> Any:
        return DisputeResponse.objects.filter(dispute__merchant=self.shop.merchant, delivered_at=None)

    def assert_disputes_are_the_gateways(self) -> None:
        for dispute in Dispute.objects.filter(merchant=self.shop.merchant):
            assert self.acquirer.agrees(dispute), (dispute, dispute.status)
