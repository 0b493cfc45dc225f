"""Two gateways: a payment goes to the other one only if the first is known to have charged nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import DatabaseError
from django.db.transaction import atomic

from fintech.env import ANY
from fintech.testing.processes import Platform, wait_until
from loadtests.tests.simulator import FakeStripe, Simulator, running, running_gateway
from payments.gateway.base import Answer, Exchange
from payments.gateway.circuit_breaker import MAX_FAILURES
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.registry import gateways
from payments.gateway.routing import Routes
from payments.gateway.stripe.gateway import StripeGateway
from payments.kpis.gateway_drift import measure_gateway_drift
from payments.ledger.consistency import check_ledger
from payments.ledger.reconciliation import reconcile
from payments.ledger.running_sums import OtherGateways
from payments.models import Dispute, Event, Merchant, Transaction, Unresolved
from payments.schemas import BatchItem, CaptureInput, PaymentInput, PaymentMethod
from payments.services.batches import create_batch
from payments.services.captures import create_capture
from payments.services.failover import move_payment
from payments.services.pending import Pending, stored_row
from payments.storage.group_commit import writer
from payments.storage.payment_sql import Part
from payments.tests.conftest import Client
from payments.tests.consistency import settled
from payments.tests.disputes.conftest import Bank
from payments.tests.gateway_events.conftest import sender
from payments.tests.services.test_lost_rows import LOSE_PAYMENT
from payments.tests.shop import Shop

__all__ = ["sender"]

pytestmark = pytest.mark.processes

CARD = PaymentMethod("card", token="pm_card_visa")
BOTH = {(ANY, ANY): ("simulator", "stripe")}
NOTHING_SENT = Answer("unavailable", "not_reached", exchanges=[Exchange("charge", "unavailable", None, "refused", 1.0)])


@dataclass
class Acquirers:
    first: Simulator
    second: FakeStripe

    def run_without_faults(self) -> None:
        """Undo what an earlier test has done."""
        for process in (self.first, self.second):
            if process._process is None:
                process.start()
            process.profile(unavailable_ratio=0, hold_seconds=600)

    def clients(self) -> dict[str, Any]:
        return {
            "simulator": HttpGateway(self.first.url, self.first.token),
            "stripe": StripeGateway(self.second.url, self.second.token),
        }

    def check_books(self, merchant: Merchant) -> None:
        """Each gateway's record equals the ledger's part of it, and the books are consistent."""
        findings = [finding for _, found in check_ledger([merchant.pk]) for finding in found]
        for client in self.clients().values():
            findings += reconcile(client, merchants=[merchant.pk]).findings
        assert not findings, findings

    def charged(self, payment: UUID | str) -> dict[str, int]:
        """Return what each gateway took for this payment."""
        key = str(Transaction.objects.get(id=payment).gateway_key)
        return {
            name: sum(record["amount"] for record in client.records()["records"] if record["key"] == key)
            for name, client in self.clients().items()
        }


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acquirers]:
    directory: Path = tmp_path_factory.mktemp("acquirers")
    with running_gateway(directory) as first, running(FakeStripe(directory / "stripe.sqlite3")) as second:
        yield Acquirers(first, second)


@pytest.fixture
def acquirers(processes: Acquirers, monkeypatch: pytest.MonkeyPatch) -> Acquirers:
    """Both run without faults, with closed circuits, and every payment may try both in this order."""
    processes.run_without_faults()
    for name, client in processes.clients().items():
        monkeypatch.setitem(gateways.made, name, client)
    monkeypatch.setattr("payments.services.pending.routes", Routes(BOTH, "simulator"))
    monkeypatch.setattr("payments.gateway.client.PAUSE_SECONDS", 0.001)
    return processes


@pytest.fixture
def shop(acquirers: Acquirers) -> Shop:
    return Shop.open()


def pay(shop: Shop, amount: int = 1250, **fields: Any) -> Any:
    return shop.pay(amount, payment_method=CARD, **fields).body


def gateway_of(payment: UUID) -> str:
    return Transaction.objects.get(id=payment).gateway


def test_a_payment_goes_on_at_the_second_gateway_while_the_first_is_down(shop, acquirers):
    acquirers.first.kill()

    payment = pay(shop, key="order-1")
    repeated = pay(shop, key="order-1")

    acquirers.first.start()
    assert (payment.status, repeated.id) == ("succeeded", payment.id)
    assert gateway_of(payment.id) == "stripe"
    assert acquirers.charged(payment.id) == {"simulator": 0, "stripe": 1250}
    event = Event.objects.get(transaction=payment.id, kind="rerouted")
    assert (event.data["from"], event.data["to"], event.data["code"]) == ("simulator", "stripe", "not_reached")
    acquirers.check_books(shop.merchant)


def test_a_payment_that_the_first_gateway_does_not_accept_now_goes_to_the_second(shop, acquirers):
    acquirers.first.profile(unavailable_ratio=1)

    payment = pay(shop)

    assert (payment.status, gateway_of(payment.id)) == ("succeeded", "stripe")
    acquirers.check_books(shop.merchant)


def test_an_open_circuit_sends_payments_to_the_second_gateway_at_once(shop, acquirers):
    client = gateways.get("simulator")
    assert isinstance(client, HttpGateway)
    for _ in range(MAX_FAILURES):
        client._breaker.failed()

    payment = pay(shop)

    assert (payment.status, gateway_of(payment.id)) == ("succeeded", "stripe")
    assert Event.objects.get(transaction=payment.id, kind="rerouted").data["gateway"] == []


def test_a_payment_that_both_gateways_do_not_accept_has_failed(shop, acquirers):
    payment = pay(shop, 1912)

    assert (payment.status, payment.failure.code) == ("failed", "acquirer_unavailable")
    assert acquirers.charged(payment.id) == {"simulator": 0, "stripe": 0}
    acquirers.check_books(shop.merchant)


@pytest.mark.parametrize("amount", [1922, 1924], ids=["charged", "not charged"])
def test_a_payment_whose_outcome_is_unknown_stays_at_its_gateway(shop, acquirers, amount):
    payment = pay(shop, amount)
    assert (payment.status, gateway_of(payment.id)) == ("unknown", "simulator")

    shop.resolve()

    stored = Transaction.objects.get(id=payment.id)
    assert (stored.gateway, stored.status) == ("simulator", "succeeded" if amount == 1922 else "failed")
    assert acquirers.charged(payment.id)["stripe"] == 0
    acquirers.check_books(shop.merchant)


@pytest.mark.parametrize(("amount", "status"), [(1901, "declined"), (1911, "failed")])
def test_a_decision_of_the_first_gateway_is_not_appealed_at_the_second(shop, acquirers, amount, status):
    payment = pay(shop, amount)

    assert (payment.status, gateway_of(payment.id)) == (status, "simulator")
    assert acquirers.charged(payment.id) == {"simulator": 0, "stripe": 0}


def test_a_batch_goes_on_at_the_second_gateway(shop, acquirers):
    acquirers.first.kill()
    items = [
        BatchItem(idempotency_key=f"item-{number}", amount=1250, currency="EUR", customer="c_1", payment_method=CARD)
        for number in range(3)
    ]

    outcomes = create_batch(principal=shop.principal, items=items)

    acquirers.first.start()
    assert [outcome.operation.status for outcome in outcomes] == ["succeeded"] * 3
    assert {gateway_of(outcome.operation.id) for outcome in outcomes} == {"stripe"}
    acquirers.check_books(shop.merchant)


@pytest.fixture
def own_first(acquirers: Acquirers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Acquirers]:
    """The first gateway alone for one test, whose record may keep what the ledger lacks."""
    with running_gateway(tmp_path) as first:
        own = Acquirers(first, acquirers.second)
        monkeypatch.setitem(gateways.made, "simulator", own.clients()["simulator"])
        yield own


def test_a_lost_payment_that_is_charged_again_at_the_second_gateway_is_named_by_reconcile(shop, own_first, tamper):
    first = pay(shop, key="order-7")
    tamper(LOSE_PAYMENT, {"id": first.id})
    own_first.first.kill()

    again = pay(shop, key="order-7")

    own_first.first.start()
    assert (again.status, gateway_of(again.id)) == ("succeeded", "stripe")
    assert own_first.charged(again.id) == {"simulator": 1250, "stripe": 1250}
    found = {name: reconcile(client, merchants=[shop.merchant.pk]) for name, client in own_first.clients().items()}
    assert found["stripe"].findings == []
    (finding,) = found["simulator"].findings
    assert (finding.check, finding.resource) == ("missing_in_ledger", str(again.id))
    assert "made a charge of 1250 EUR" in finding.detail


def test_a_dispute_of_the_first_gateways_charge_is_not_one_of_the_second_gateways(shop, own_first, tamper, sender):
    tamper(LOSE_PAYMENT, {"id": pay(shop, key="order-7").id})
    own_first.first.kill()
    payment = pay(shop, key="order-7")
    own_first.first.start()

    bank = Bank(own_first.first, sender)
    assert bank.inform(*bank.opened(payment.id)) == ["refused", "refused"]

    assert not Dispute.objects.filter(transaction_id=payment.id).exists()
    assert "the payment is at the gateway stripe" in {event.detail for event in sender.stored()}
    assert reconcile(own_first.clients()["stripe"], merchants=[shop.merchant.pk]).findings == []
    assert shop.refund(payment.id).body.status == "succeeded"


# --- The gateway that charged ------------------------------------------------------------------------------------


@pytest.fixture
def at_stripe(monkeypatch: pytest.MonkeyPatch, acquirers: Acquirers) -> None:
    monkeypatch.setattr("payments.services.pending.routes", Routes({(ANY, "EUR"): ("stripe",)}, "simulator"))


def test_a_route_sends_a_currency_to_its_gateway(shop, acquirers, at_stripe):
    routed, other = pay(shop, currency="EUR"), pay(shop, currency="USD")

    assert (gateway_of(routed.id), gateway_of(other.id)) == ("stripe", "simulator")
    acquirers.check_books(shop.merchant)


def test_the_drift_of_the_first_gateway_leaves_out_what_the_second_one_charged(shop, acquirers, tmp_path, monkeypatch):
    """Rows of other tests remain, so differences of the drift count; it is far above 0, where it is exact."""
    others = OtherGateways()
    with running_gateway(tmp_path) as first:
        monkeypatch.setitem(gateways.made, "simulator", HttpGateway(first.url, first.token))
        first.post_charge("not-ours", 900_000_000)
        before, before_alone = drifts_of("simulator", others)

        first.kill()
        moved = pay(shop, 1250)
        shop.refund(moved.id, 400)
        first.start()
        pay(shop, 700)
        after, after_alone = drifts_of("simulator", others)

        assert gateway_of(moved.id) == "stripe"
        assert after == before
        assert after_alone == before_alone - 1250 + 400
        first.post_charge("also-not-ours", 333)
        assert drifts_of("simulator", others)[0] == before + 333


def drifts_of(name: str, others: OtherGateways) -> tuple[int, int]:
    """Return the drift in EUR of a gateway: with the sums of the others, and without them."""
    gateway = gateways.get(name)
    return measure_gateway_drift(gateway, others)["EUR"], measure_gateway_drift(gateway)["EUR"]


@pytest.mark.parametrize("amount", [400, 922], ids=["answered", "whose answer is lost"])
def test_a_refund_goes_to_the_gateway_that_charged(shop, acquirers, at_stripe, monkeypatch, amount):
    payment = pay(shop, 2000)
    monkeypatch.setattr("payments.services.pending.routes", Routes({}, "simulator"))

    shop.refund(payment.id, amount)
    shop.resolve()

    assert Transaction.objects.get(id=payment.id).amount_refunded == amount
    acquirers.check_books(shop.merchant)


def test_a_capture_goes_to_the_gateway_that_authorized(shop, acquirers, at_stripe, monkeypatch):
    payment = pay(shop, 3000, capture=False)
    monkeypatch.setattr("payments.services.pending.routes", Routes({}, "simulator"))

    outcome = create_capture(
        merchant_id=shop.merchant.pk, transaction_id=payment.id, key=str(uuid4()), body=CaptureInput(amount=1922)
    )
    shop.resolve()

    outcome.operation.refresh_from_db()
    assert outcome.operation.status == "succeeded"
    acquirers.check_books(shop.merchant)


def test_a_charge_whose_answer_is_lost_is_resolved_at_the_gateway_that_was_asked(shop, acquirers, at_stripe):
    acquirers.second.let_search_lag(True)
    payment = pay(shop, 1922)
    shop.resolve()
    assert Transaction.objects.get(id=payment.id).status == "unknown"  # a search that lags is no "not charged"

    acquirers.second.let_search_lag(False)
    shop.resolve()

    assert Transaction.objects.get(id=payment.id).status == "succeeded"
    acquirers.check_books(shop.merchant)


# --- A crash in between ------------------------------------------------------------------------------------------


def stored(shop: Shop, amount: int) -> Pending:
    """Return a payment whose process has done nothing after T1."""
    body = PaymentInput(amount=amount, currency="EUR", customer="c_1", payment_method=CARD)
    pending = Pending.create(shop.principal, str(uuid4()), body)
    writer.write(Part.CREATED, [stored_row(pending, settings.LEASE_SECONDS)])
    return pending


def move(pending: Pending, *, token: UUID | None = None) -> bool:
    return move_payment(
        pending.id, token or pending.lease_token, gateway="stripe", former="simulator", answer=NOTHING_SENT
    )


def test_a_payment_whose_process_died_after_the_failover_is_resolved_at_the_second_gateway(shop, acquirers):
    pending = stored(shop, 1250)
    assert move(pending)
    gateways.get("stripe").charge(pending.gateway_key, amount=1250, currency="EUR", payment_method=CARD)
    Unresolved.objects.filter(resource_id=pending.id).update(lease_token=None)

    shop.resolve()

    found = Transaction.objects.get(id=pending.id)
    assert (found.status, found.gateway) == ("succeeded", "stripe")
    assert acquirers.charged(pending.id) == {"simulator": 0, "stripe": 1250}
    acquirers.check_books(shop.merchant)


def test_a_payment_that_the_resolver_has_taken_stays_at_its_gateway(shop, acquirers, caplog):
    pending = stored(shop, 1250)

    assert not move(pending, token=uuid4())

    assert gateway_of(pending.id) == "simulator"
    assert "gateway_failover" not in caplog.text
    Unresolved.objects.filter(resource_id=pending.id).update(lease_token=None)
    shop.resolve()


def test_the_database_refuses_another_gateway_after_an_unknown_outcome(shop, acquirers):
    payment = pay(shop, 1924)

    with pytest.raises(DatabaseError), atomic():
        Transaction.objects.filter(id=payment.id).update(gateway="stripe")

    shop.resolve()
    with pytest.raises(DatabaseError), atomic():
        Transaction.objects.filter(id=payment.id).update(gateway="stripe")


# --- The whole platform ------------------------------------------------------------------------------------------


def test_the_platform_pays_at_the_second_gateway_while_the_first_is_dead(processes, tmp_path):
    processes.run_without_faults()
    env = {
        "STRIPE_URL": processes.second.url,
        "STRIPE_API_KEY": processes.second.token,
        "GATEWAY_ROUTES": "*=simulator>stripe",
        "GATEWAY_TIMEOUT_SECONDS": "2",
    }
    with Platform(tmp_path, gateway=processes.first, workers=1, env=env) as platform:
        client = Client(platform, *open_merchant())
        before = pay_by_api(client)
        processes.first.kill()
        during = [pay_by_api(client) for _ in range(5)]
        processes.first.start()
        wait_until(lambda: gateway_of(pay_by_api(client)) == "simulator", timeout=30, what="the circuit has closed")
        processes.first.profile(hold_seconds=4)
        hanging = pay_by_api(client, 1923)
        settled(client.merchant, within=60)

    assert [gateway_of(payment) for payment in (before, *during)] == ["simulator", *["stripe"] * 5]
    found = Event.objects.filter(transaction=hanging).order_by("id").values_list("kind", flat=True)
    assert list(found) == ["processing", "unknown", "succeeded"]
    assert gateway_of(hanging) == "simulator"
    processes.check_books(client.merchant)


def pay_by_api(client: Client, amount: int = 1250) -> UUID:
    answer = client.pay(amount, payment_method={"type": "card", "token": "pm_card_visa"})
    assert answer.status in (201, 202), answer
    return UUID(answer.body["id"])


def open_merchant() -> tuple[Merchant, str]:
    shop = Shop.open()
    return shop.merchant, shop.secret
