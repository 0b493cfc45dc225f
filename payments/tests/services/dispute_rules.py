"""The rules of the state machine for disputes: the bank, the merchant, and the worker between them, which may die."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, rule

from loadtests.tests.simulator import Simulator
from payments.errors import PaymentError
from payments.gateway.registry import gateways
from payments.models import Dispute, DisputeResponse
from payments.services.disputes import accept_dispute, deliver_responses, submit_evidence
from payments.tests.consistency import gateway_key
from payments.tests.services.authorization_rules import allow_refusal
from payments.tests.services.gateway_event_rules import GatewayEventRules
from payments.tests.shop import Shop

AMOUNTS = st.sampled_from([None, None, 1, 250, 922])
DECISIONS = st.sampled_from(["needs_response", "won", "lost", "pre_arbitration"])
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
    key: str  # the gateway knows the dispute by it


class DisputeRules(GatewayEventRules):
    """A part of the machine `Payments`, which has the shop and the simulator."""

    shop: Shop
    simulator: Simulator

    disputed = Bundle("disputed")

    def dispute(self, payment: UUID, amount: int | None = None, **fields: Any) -> Disputed | None:
        body = {"charge": gateway_key(payment), **fields} | ({} if amount is None else {"amount": amount})
        answer = self._control("/control/disputes", body)
        if answer.status != 201:
            assert answer.body["code"] in ("charge_not_found", "exceeds_charge"), answer
            return None
        opened = {"state": "opened", "sequence": 1, "evidence_due_at": None}
        self.announce("dispute.changed", answer.body | opened)
        self.announce("dispute.changed", answer.body)
        return Disputed(answer.body["dispute"])

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
        if disputed is None:
            return
        answer = self._control(f"/control/disputes/{disputed.key}", {"state": state})
        assert answer.status in (200, 409), answer
        if answer.status == 200:
            self.announce("dispute.changed", answer.body)

    def _control(self, path: str, body: object) -> Any:
        return self.simulator.request("POST", path, body, token=self.simulator.control_token)

    # --- The merchant ----------------------------------------------------------------------------------------

    @rule(disputed=disputed, kind=st.sampled_from(list(DisputeResponse.Kind.values)))
    def the_merchant_responds(self, disputed: Disputed | None, kind: str) -> None:
        self._respond(disputed, kind)

    def _respond(self, disputed: Disputed | None, kind: str) -> None:
        """Send a new text in each round: an equal one repeats the response to the first."""
        dispute = Dispute.objects.filter(gateway_key=disputed.key).first() if disputed else None
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
        for response in self.undelivered().select_related("dispute"):
            key = response.dispute.gateway_key
            if response.kind == DisputeResponse.Kind.EVIDENCE:
                files = response.files
                gateways.default().submit_evidence(response.gateway_key, dispute=key, text=response.text, files=files)
            else:
                gateways.default().accept_dispute(response.gateway_key, dispute=key)
        self._announce_all_disputes()

    def _announce_all_disputes(self) -> None:
        """Announce what the responses have changed: each changes a dispute once."""
        for key in Dispute.objects.filter(merchant=self.shop.merchant).values_list("gateway_key", flat=True):
            self.announce("dispute.changed", self.simulator.request("GET", f"/v1/disputes/{key}").body)

    def undelivered(self) -> Any:
        return DisputeResponse.objects.filter(dispute__merchant=self.shop.merchant, delivered_at=None)

    def assert_disputes_are_the_gateways(self) -> None:
        for dispute in Dispute.objects.filter(merchant=self.shop.merchant):
            theirs = self.simulator.request("GET", f"/v1/disputes/{dispute.gateway_key}").body
            assert (dispute.status, dispute.sequence) == (theirs["state"], theirs["sequence"])
