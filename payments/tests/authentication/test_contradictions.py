"""Answers in flight while another outcome is stored: the first one counts, and a contradiction is logged."""

from collections.abc import Callable, Iterator

import pytest

from loadtests.tests.simulator import Simulator, running_gateway
from payments.gateway.registry import gateways
from payments.models import Transaction
from payments.schemas import PaymentInput
from payments.services.challenges import Challenged, poll_one
from payments.services.charges import charge, settle_payments
from payments.services.pending import Pending, stored_row
from payments.storage.group_commit import writer
from payments.storage.payment_sql import Part
from payments.tests.authentication.conftest import Customer, answer_challenge, state
from payments.tests.consistency import client_of

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def other_record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """The record of a gateway that has decided otherwise about the same keys."""
    with running_gateway(tmp_path_factory.mktemp("other")) as running:
        yield running


@pytest.fixture
def contradictions(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    def found() -> list[tuple[str, str]]:
        records = [record for record in caplog.records if record.message == "gateway_contradiction"]
        assert {record.levelname for record in records} <= {"ERROR"}
        return [(record.status, record.outcome) for record in records]  # type: ignore[attr-defined]

    return found


def poll_in_flight(payment: Transaction) -> None:
    """Ask as a worker that took the challenge before it was decided."""
    poll_one(Challenged(payment.id, False, "simulator", payment.gateway_key, None, is_over=False, attempts=1))


@pytest.mark.parametrize(
    ("answer", "theirs", "logged"),
    [
        ("accept", 901, [("succeeded", "declined")]),
        ("refuse", 250, [("declined", "approved")]),
        ("accept", 250, []),
        ("refuse", 901, []),
    ],
)
def test_a_poll_that_contradicts_the_event_before_it(
    customer: Customer, other_record, contradictions, monkeypatch, *, answer, theirs, logged
):
    identifier, url = customer.challenge()
    answer_challenge(url, answer)
    customer.send_decision(identifier)
    before, payment = state(identifier), Transaction.objects.get(id=identifier)
    other_record.post_charge(str(payment.gateway_key), 1000 + theirs)
    monkeypatch.setitem(gateways.made, "simulator", client_of(other_record))

    poll_in_flight(payment)

    assert (state(identifier), contradictions()) == (before, logged)


def test_an_approval_after_the_resolver_cancelled_the_payment(shop, other_record, contradictions, monkeypatch):
    pending = Pending.create(shop.principal, "k-1", PaymentInput(1250, "EUR", "c_1"))
    pending.mark_stored(writer.write(Part.CREATED, [stored_row(pending, 0)])[pending.id])
    shop.resolve()
    monkeypatch.setitem(gateways.made, "simulator", client_of(other_record))

    (shown,) = settle_payments([(pending, charge(pending))])

    assert (shown.status, contradictions()) == ("failed", [("failed", "approved")])
