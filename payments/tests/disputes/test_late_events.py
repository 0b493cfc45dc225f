"""Events about a dispute that is closed, or that repeat a number: those that contradict our rows are refused loudly."""

import pytest

from payments.models import Dispute, Event, LedgerLeg
from payments.services.disputes import accept_dispute, deliver_responses, submit_evidence
from payments.states import DISPUTE
from payments.tests.consistency import check_books

pytestmark = pytest.mark.processes

DUE = "2030-01-01T00:00:00+00:00"


def close(shop, bank, end: str) -> Dispute:
    """Return a dispute of 5000 that the bank has decided, or that the merchant has accepted."""
    dispute = bank.dispute(shop.pay(5000).body.id)
    request = {"merchant_id": shop.merchant.pk, "dispute_id": dispute.pk}
    if end == "accepted":
        accept_dispute(**request)
        deliver_responses()
        bank.inform(bank.read(dispute))
    else:
        submit_evidence(text="It was delivered.", files=[], **request)
        deliver_responses()
        bank.inform(bank.read(dispute), bank.moved(str(dispute.gateway_key), end))
    dispute.refresh_from_db()
    assert dispute.status == ("lost" if end == "accepted" else end)
    return dispute


def moved(dispute: Dispute) -> tuple[list[dict], list[dict]]:
    """Return the journal and the legs of a dispute."""
    events = Event.objects.filter(dispute_id=dispute.pk).order_by("id")
    legs = LedgerLeg.objects.filter(transaction_id=dispute.transaction_id).order_by("id")
    return list(events.values()), list(legs.values())


@pytest.mark.parametrize(
    ("end", "agree"),
    [
        ("won", {"won": "applied"}),
        ("lost", {"lost": "applied"}),
        # The bank asked before it knew that the merchant had accepted.
        ("accepted", {"lost": "applied", "needs_response": "ignored", "pre_arbitration": "ignored"}),
    ],
)
def test_a_later_event_changes_no_closed_dispute(shop, bank, refusals, end, agree):
    dispute = close(shop, bank, end)
    before, theirs = moved(dispute), bank.read(dispute)
    states = [state for state in DISPUTE.states if state != "opened"]

    late = [theirs | {"state": state, "evidence_due_at": DUE} for state in states]
    outcomes = bank.inform(*({**event, "sequence": dispute.sequence + 1 + place} for place, event in enumerate(late)))

    assert outcomes[-len(states) :] == [agree.get(state, "refused") for state in states]
    assert (moved(dispute), refusals()) == (before, len(states) - len(agree))
    dispute.refresh_from_db()
    assert (dispute.status, dispute.sequence) == (theirs["state"], theirs["sequence"] + len(states))
    check_books(bank.gateway, shop.merchant)


@pytest.mark.parametrize("end", ["won", "lost", "accepted"])
def test_the_last_event_repeated_under_another_id_is_ignored(shop, bank, end):
    dispute = close(shop, bank, end)
    before = moved(dispute)

    assert bank.inform(bank.read(dispute))[-1] == "ignored"
    assert moved(dispute) == before


@pytest.mark.parametrize(("end", "other"), [("won", "lost"), ("lost", "won"), ("accepted", "won")])
def test_another_decision_with_a_number_that_was_applied_is_refused(shop, bank, end, other):
    dispute = close(shop, bank, end)
    before = moved(dispute)

    assert bank.inform(bank.read(dispute) | {"state": other})[-1] == "refused"
    assert moved(dispute) == before
    check_books(bank.gateway, shop.merchant)


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    "change", [{"amount": 4999}, {"fee": 1}, {"currency": "USD"}, {"charge": "00000000-0000-4000-8000-000000000000"}]
)
def test_an_event_about_other_money_than_the_dispute_is_refused(shop, bank, change, is_new):
    dispute = close(shop, bank, "lost")
    before = moved(dispute)
    event = bank.read(dispute) | {"sequence": dispute.sequence + is_new}

    assert bank.inform(event | change)[-1] == "refused"
    assert moved(dispute) == before
    check_books(bank.gateway, shop.merchant)


def test_every_earlier_event_repeated_after_the_end_is_ignored(shop, bank):
    opened, asked = bank.opened(shop.pay(5000).body.id)
    lost = bank.moved(opened["dispute"], "lost")
    bank.inform(opened, asked, lost)

    assert bank.inform(lost, asked, opened)[-3:] == ["ignored"] * 3
    check_books(bank.gateway, shop.merchant)


def test_an_event_that_repeats_an_early_number_with_a_later_state_is_refused(shop, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)

    assert bank.inform(bank.read(dispute) | {"state": "lost"})[-1] == "refused"
    dispute.refresh_from_db()
    assert (dispute.status, dispute.sequence) == ("needs_response", 2)
