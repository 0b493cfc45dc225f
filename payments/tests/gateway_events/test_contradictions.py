"""Events about operations that are final here: one that agrees changes nothing, one that contradicts is refused."""

from dataclasses import dataclass
from typing import Any

import pytest

from loadtests.tests.simulator import Simulator
from payments.models import Capture, Event, Refund, Transaction, Void
from payments.schemas import CaptureInput, VoidInput
from payments.services.captures import create_capture
from payments.services.voids import create_void
from payments.tests.consistency import check_books
from payments.tests.gateway_events.conftest import Sender
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

REFUSED_BY_THE_BANK = 1901
LOST_REPLY = 10_922
MODELS = {"charge": Transaction, "authorization": Transaction, "capture": Capture, "void": Void, "refund": Refund}
APPROVED, DECLINED = {"outcome": "approved", "reference": "gw_other"}, {"outcome": "declined", "reference": None}


@dataclass
class Operations:
    """Operations of a shop, and the gateway's events about them."""

    shop: Shop
    gateway: Simulator
    sender: Sender

    def make(self, operation: str, amount: int = 5000) -> Any:
        if operation in ("charge", "authorization"):
            return Transaction.objects.get(id=self.shop.pay(amount, capture=operation == "charge").body.id)
        if operation == "refund":
            return Refund.objects.get(id=self.shop.refund(self.shop.pay(20_000).body.id, amount).body.id)
        payment = self.make("authorization", 20_000)
        return self.capture(payment, amount) if operation == "capture" else self.void(payment)

    def capture(self, payment: Transaction, amount: int | None = None) -> Any:
        request: dict[str, Any] = {"merchant_id": self.shop.merchant.pk, "transaction_id": payment.id, "key": "capture"}
        return create_capture(body=CaptureInput(amount=amount), **request).operation

    def void(self, payment: Transaction) -> Any:
        request: dict[str, Any] = {"merchant_id": self.shop.merchant.pk, "transaction_id": payment.id, "key": "void"}
        return create_void(body=VoidInput(), **request).operation

    def send(self, operation: str, row: Any, changes: dict[str, Any]) -> str | None:
        """Send the gateway's own record of an operation, with changes. Returns the outcome of the event."""
        found = self.gateway.request("GET", f"/v1/{operation}s/{row.gateway_key}").body
        data = {name: found.get(name) for name in ("key", "outcome", "amount", "currency", "reference")}
        self.sender.send(f"{operation}.decided", data | changes)
        return self.sender.process()[-1]

    def state(self, row: Any) -> list[dict[str, Any]]:
        """Return the operation, and the journal of its payment. The books must agree."""
        check_books(self.gateway, self.shop.merchant)
        payment = row.id if isinstance(row, Transaction) else row.transaction_id
        journal = Event.objects.filter(transaction_id=payment).order_by("id")
        return [*type(row).objects.filter(id=row.id).values(), *journal.values()]


@pytest.fixture
def operations(shop: Shop, gateway: Simulator, sender: Sender) -> Operations:
    return Operations(shop, gateway, sender)


@pytest.mark.parametrize("operation", MODELS)
def test_a_repeated_decision_about_a_final_operation_is_ignored(operations, refusals, operation):
    row = operations.make(operation)
    before = operations.state(row)

    assert operations.send(operation, row, {}) == "ignored"
    assert (operations.state(row), refusals()) == (before, 0)


@pytest.mark.parametrize("operation", MODELS)
def test_a_decision_that_contradicts_a_success_is_refused_loudly(operations, refusals, operation):
    row = operations.make(operation)
    before = operations.state(row)
    changes = (DECLINED, {"amount": 1}, {"currency": "USD"}, {"reference": "gw_other"})

    assert [operations.send(operation, row, change) for change in changes] == ["refused"] * 4
    assert (operations.state(row), refusals()) == (before, 4)


@pytest.mark.parametrize("operation", ["charge", "authorization", "capture", "refund"])
def test_an_approval_of_an_operation_that_moved_nothing_is_refused_loudly(operations, refusals, operation):
    row = operations.make(operation, REFUSED_BY_THE_BANK)
    assert row.status in ("declined", "failed")
    before = operations.state(row)

    assert [operations.send(operation, row, change) for change in (APPROVED, DECLINED)] == ["refused", "ignored"]
    assert (operations.state(row), refusals()) == (before, 1)


@pytest.mark.parametrize("end", ["void", "capture"])
def test_an_authorization_that_has_ended_agrees_with_its_approval_only(operations, refusals, end):
    row = operations.make("authorization")
    getattr(operations, end)(row)
    before = operations.state(row)

    assert [operations.send("authorization", row, change) for change in ({}, DECLINED)] == ["ignored", "refused"]
    assert (operations.state(row), refusals()) == (before, 1)


@pytest.mark.parametrize("amount", [5000, LOST_REPLY])
def test_the_decision_of_a_gateway_that_the_payment_left_settles_nothing(operations, refusals, tamper, amount):
    """Both gateways know it by the same key. The one that charges it as well must not be mistaken for the other."""
    row = operations.make("charge", amount)
    moved = "UPDATE payments_transaction SET gateway = %s WHERE id = %s"
    tamper(moved, "other", row.id)

    assert [operations.send("charge", row, change) for change in ({}, DECLINED)] == ["refused", "ignored"]

    assert (Transaction.objects.get(id=row.id).status, refusals()) == (row.status, 1)
    tamper(moved, row.gateway, row.id)
    operations.shop.resolve()
