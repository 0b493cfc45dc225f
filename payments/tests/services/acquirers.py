"""The gateways of the state machine: what it asks of them besides payments, and the events that each sends.

The simulator announces a decision only for an answer that was lost, so the rules announce the others. Stripe's fake
makes an event for each change.
"""

from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.test import override_settings

from loadtests.tests.simulator import FakeStripe, Simulator
from payments.gateway.keys import dispute_key
from payments.gateway.registry import STRIPE, gateways
from payments.gateway_events.kinds import STRIPE_KINDS
from payments.models import Dispute, Transaction
from payments.tests.consistency import client_of, gateway_key
from payments.tests.gateway_events.conftest import Sender, StripeSender

Event = tuple[str, dict[str, Any]]
DECIDED = ("approved", "declined")
DECISION = ("key", "outcome", "amount", "currency", "reference", "code", "authentication")


class AtSimulator:
    name = settings.GATEWAY_NAME
    sender: type[Sender] = Sender

    def __init__(self, process: Simulator) -> None:
        self.process = process

    def connect(self) -> None:
        """Use a new client, whose circuit is closed."""
        gateways.made[self.name] = client_of(self.process)

    def challenges_last(self, seconds: float) -> AbstractContextManager[Any]:
        """Give the customers of the payments in this context so much time."""
        self.process.profile(challenge_seconds=seconds)
        return override_settings()

    def news(self) -> list[Event]:
        """Return the events that the gateway has made by itself."""
        return []

    def decision(self, payment: UUID) -> list[Event]:
        row = Transaction.objects.get(id=payment)
        kind = "authorization" if row.manual_capture else "charge"
        record = self.process.request("GET", f"/v1/{kind}s/{row.gateway_key}").body
        if record.get("outcome") not in DECIDED:
            return []
        return [(f"{kind}.decided", {name: record[name] for name in DECISION if name in record})]

    def dispute(self, payment: UUID, **fields: Any) -> tuple[str | None, list[Event]]:
        """Dispute a payment. Returns the gateway's name of the dispute, or None if there is no such money."""
        answer = self.control("", {"charge": gateway_key(payment), **fields})
        if answer.status != 201:
            assert answer.body["code"] in ("charge_not_found", "exceeds_charge"), answer
            return None, []
        opened = {"state": "opened", "sequence": 1, "evidence_due_at": None}
        return answer.body["dispute"], [("dispute.changed", answer.body | opened), ("dispute.changed", answer.body)]

    def decide(self, dispute: str, state: str) -> list[Event]:
        answer = self.control(f"/{dispute}", {"state": state})
        assert answer.status in (200, 409), answer
        return [("dispute.changed", answer.body)] if answer.status == 200 else []

    def control(self, path: str, body: object) -> Any:
        return self.process.request("POST", f"/control/disputes{path}", body, token=self.process.control_token)

    def key_of(self, dispute: str) -> UUID:
        return UUID(dispute)

    def described(self, dispute: Dispute) -> list[Event]:
        return [("dispute.changed", self._read(dispute))]

    def agrees(self, dispute: Dispute) -> bool:
        theirs = self._read(dispute)
        return (dispute.status, dispute.sequence) == (theirs["state"], theirs["sequence"])

    def _read(self, dispute: Dispute) -> dict[str, Any]:
        return self.process.request("GET", f"/v1/disputes/{dispute.gateway_key}").body


class AtStripe(AtSimulator):
    name = STRIPE
    sender = StripeSender

    def __init__(self, process: FakeStripe) -> None:
        self.process: FakeStripe = process
        self._heard = 0

    def challenges_last(self, seconds: float) -> AbstractContextManager[Any]:
        return override_settings(STRIPE_CHALLENGE_SECONDS=seconds)

    def news(self) -> list[Event]:
        found = self.process.events_after(self._heard)
        self._heard = max([self._heard, *(one["seq"] for one in found)])
        events = [(one["event"]["type"], one["event"]["data"]["object"]) for one in found]
        return [(kind, item) for kind, item in events if kind in STRIPE_KINDS]

    def decision(self, payment: UUID) -> list[Event]:
        return []

    def dispute(self, payment: UUID, **fields: Any) -> tuple[str | None, list[Event]]:
        """Dispute a payment, or only inquire if no evidence is requested."""
        fields["status"] = "needs_response" if fields.pop("request_evidence", True) else "warning_needs_response"
        answer = self.control("", {"charge": gateway_key(payment), **fields})
        assert answer.status in (201, 400), answer
        return answer.body.get("id"), []

    def decide(self, dispute: str, state: str) -> list[Event]:
        answer = self.control(f"/{dispute}", {"state": state})
        assert answer.status in (200, 400), answer
        return []

    def key_of(self, dispute: str) -> UUID:
        return dispute_key(dispute)

    def described(self, dispute: Dispute) -> list[Event]:
        return []

    def agrees(self, dispute: Dispute) -> bool:
        """Compare the states. Without a due date the bank waits for no response."""
        listed = self.process.request("GET", f"/v1/disputes?payment_intent={dispute.transaction.gateway_reference}")
        (theirs,) = [one for one in listed.body["data"] if dispute_key(one["id"]) == dispute.gateway_key]
        if theirs["status"] == "needs_response" and not theirs["evidence_details"]["due_by"]:
            return dispute.status == Dispute.Status.OPENED
        return dispute.status == theirs["status"]
