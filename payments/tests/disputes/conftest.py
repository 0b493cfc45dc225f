"""A bank that disputes payments at the simulator, and whose events reach this process one by one."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from loadtests.tests.simulator import Simulator
from payments.models import Dispute, Transaction
from payments.tests.consistency import gateway_key
from payments.tests.gateway_events.conftest import Sender, refusals, sender

__all__ = ["refusals", "sender"]

Event = dict[str, Any]


class Bank:
    """The gateway's side of disputes. `opened` and `moved` return its events, which the test sends."""

    def __init__(self, gateway: Simulator, sender: Sender) -> None:
        self.gateway, self.sender = gateway, sender

    def opened(self, payment: UUID | str, **fields: Any) -> list[Event]:
        """Dispute a payment, and return both events: it is opened, and it needs a response."""
        answer = self.control("/control/disputes", {"charge": gateway_key(payment), **fields})
        assert answer.status == 201, answer
        return [answer.body | {"state": "opened", "sequence": 1, "evidence_due_at": None}, answer.body]

    def claimed(self, payment: UUID | str, **changes: Any) -> Event:
        """Return an event that opens a dispute which the simulator does not know, so that no money is held back."""
        row = Transaction.objects.get(id=payment)
        event = {
            "dispute": str(uuid4()),
            "sequence": 1,
            "charge": str(row.gateway_key),
            "charged_at": row.created_at.isoformat(),
            "state": "opened",
            "amount": row.amount,
            "currency": row.currency,
            "fee": 0,
            "reason": "fraudulent",
        }
        return event | changes

    def moved(self, dispute: str, state: str, **fields: Any) -> Event:
        answer = self.control(f"/control/disputes/{dispute}", {"state": state, **fields})
        assert answer.status == 200, answer
        return answer.body

    def control(self, path: str, body: object):
        return self.gateway.request("POST", path, body, token=self.gateway.control_token)

    def inform(self, *events: Event) -> list[str | None]:
        """Send events in this order, and process all that are not done. Returns the outcomes of all that were sent."""
        for event in events:
            assert self.sender.send("dispute.changed", event).status_code == 200
        return self.sender.process()

    def dispute(self, payment: UUID | str, **fields: Any) -> Dispute:
        """Return a dispute that needs a response here as well."""
        self.inform(*self.opened(payment, **fields))
        return Dispute.objects.filter(transaction_id=payment).latest("created_at")

    def read(self, dispute: Dispute) -> Event:
        return self.gateway.request("GET", f"/v1/disputes/{dispute.gateway_key}").body


@pytest.fixture
def bank(gateway: Simulator, sender: Sender) -> Bank:
    return Bank(gateway, sender)
