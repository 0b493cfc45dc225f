"""A dispute from its opening to its end: the gateway's events, the merchant's responses, and the money."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from fintech.testing.processes import wait_until
from payments.errors import Conflict, NotFound
from payments.gateway.registry import gateways
from payments.kpis.gauges import disputes_to_answer
from payments.ledger.postings import ACCOUNTS
from payments.models import Dispute, DisputeResponse, Event, LedgerLeg, Transaction
from payments.schemas import CaptureInput
from payments.services.captures import create_capture
from payments.services.disputes import Responded, accept_dispute, deliver_responses, submit_evidence
from payments.tests.consistency import check_books
from payments.tests.factories import sign_in
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

FILES = [{"name": "receipt.pdf", "sha256": "a" * 64, "size": 100}]


def states(dispute: Dispute) -> list[str]:
    kinds = Event.objects.filter(dispute_id=dispute.pk).order_by("id").values_list("kind", flat=True)
    return [kind.removeprefix("dispute_") for kind in kinds]


def balances(payment) -> dict[str, int]:
    """Return what the payment left on each account."""
    legs = LedgerLeg.objects.filter(transaction_id=payment).values_list("account", "amount")
    sums = {account: sum(amount for name, amount in legs if name == account) for account in ACCOUNTS}
    return {account: amount for account, amount in sums.items() if amount}


def respond(shop: Shop, dispute: Dispute, text: str = "It was delivered.") -> Responded:
    return submit_evidence(merchant_id=shop.merchant.pk, dispute_id=dispute.pk, text=text, files=FILES)


def answer(shop: Shop, dispute: Dispute, text: str = "It was delivered.") -> Dispute:
    return respond(shop, dispute, text).dispute


def test_a_dispute_holds_the_money_and_the_fee_back(shop, gateway, bank):
    payment = shop.pay(5000).body

    dispute = bank.dispute(payment.id, fee=1500)

    assert (dispute.status, states(dispute)) == ("needs_response", ["opened", "needs_response"])
    assert balances(payment.id) == {
        "gateway_clearing": -1500,
        "merchant_payable": -4925 + 1500,
        "fees": -75,
        "disputes_held": 5000,
    }
    check_books(gateway, shop.merchant)


def test_a_won_dispute_returns_the_money_but_not_the_fee(shop, gateway, bank):
    payment = shop.pay(5000).body
    dispute = bank.dispute(payment.id, amount=2000, fee=1500)
    answer(shop, dispute)
    deliver_responses()
    key = str(dispute.gateway_key)

    bank.inform(bank.read(dispute), bank.moved(key, "won"))

    dispute.refresh_from_db()
    assert states(dispute) == ["opened", "needs_response", "under_review", "won"]
    assert dispute.settled_at is not None
    assert balances(payment.id) == {"gateway_clearing": 3500, "merchant_payable": -3425, "fees": -75}
    check_books(gateway, shop.merchant)
    assert shop.refund(payment.id, 100).body.status == "succeeded"
    check_books(gateway, shop.merchant)


def test_pre_arbitration_asks_once_more_and_the_second_review_is_the_last(shop, gateway, bank):
    payment = shop.pay(5000).body
    dispute = bank.dispute(payment.id)
    key = str(dispute.gateway_key)
    answer(shop, dispute)
    deliver_responses()
    bank.inform(bank.read(dispute), bank.moved(key, "pre_arbitration"))
    first_due = dispute.evidence_due_at
    dispute.refresh_from_db()
    assert dispute.status == "pre_arbitration"
    assert first_due < dispute.evidence_due_at

    answer(shop, dispute, "Here is more.")
    deliver_responses()
    assert bank.control(f"/control/disputes/{key}", {"state": "pre_arbitration"}).status == 409
    bank.inform(bank.read(dispute), bank.moved(key, "lost"))

    assert states(dispute)[2:] == ["under_review", "pre_arbitration", "final_review", "lost"]
    assert balances(payment.id)["disputes_lost"] == 5000
    check_books(gateway, shop.merchant)


def test_an_accepted_dispute_is_lost_and_the_gateway_learns_it(shop, gateway, bank):
    payment = shop.pay(5000).body
    dispute = bank.dispute(payment.id)

    accept_dispute(merchant_id=shop.merchant.pk, dispute_id=dispute.pk)
    deliver_responses()

    assert bank.read(dispute)["state"] == "lost"
    assert bank.inform(bank.read(dispute))[-1] == "applied"
    assert states(dispute) == ["opened", "needs_response", "lost"]
    check_books(gateway, shop.merchant)


def test_events_in_any_order_and_repeated_lead_to_the_same_end(shop, gateway, bank):
    payment = shop.pay(5000).body
    opened, asked = bank.opened(payment.id)
    lost = bank.moved(opened["dispute"], "lost")

    assert bank.inform(lost, asked) == [None, None]
    assert bank.inform(opened, opened) == [None, None, "applied", "ignored"]
    assert bank.inform() == [None, "applied", "applied", "ignored"]
    assert bank.inform() == ["applied", "applied", "applied", "ignored"]

    assert states(Dispute.objects.get(transaction_id=payment.id)) == ["opened", "needs_response", "lost"]
    check_books(gateway, shop.merchant)


@pytest.mark.parametrize("change", [{"amount": 5001}, {"currency": "USD"}])
def test_a_dispute_of_other_money_is_refused(shop, gateway, bank, change):
    payment = shop.pay(5000).body

    assert bank.inform(bank.claimed(payment.id, **change)) == ["refused"]
    assert not Dispute.objects.filter(transaction_id=payment.id).exists()


def test_a_step_that_the_table_does_not_list_is_refused(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    won = bank.read(dispute) | {"state": "won", "sequence": 3}

    assert bank.inform(won)[-1] == "refused"
    dispute.refresh_from_db()
    assert (dispute.status, dispute.sequence) == ("needs_response", 3)


@pytest.mark.parametrize("change", [{"state": "won"}, {"state": "lost", "amount": 4999}, {"state": "lost", "fee": 1}])
def test_a_refused_event_does_not_stop_the_later_ones(shop, gateway, bank, change):
    payment = shop.pay(5000).body
    dispute = bank.dispute(payment.id)
    lost = bank.moved(str(dispute.gateway_key), "lost")

    outcomes = bank.inform(lost | change, lost | {"sequence": 4})

    assert outcomes[-2:] == ["refused", "applied"]
    assert states(dispute) == ["opened", "needs_response", "lost"]
    check_books(gateway, shop.merchant)


def test_a_response_that_can_no_longer_be_given_is_not_awaited(shop, bank):
    before = disputes_to_answer()

    bank.dispute(shop.pay(5000).body.id, evidence_seconds=0)

    assert disputes_to_answer() == before


def test_evidence_is_awaited_until_the_gateway_has_taken_it(shop, bank):
    deliver_responses()  # those of other tests
    number, _ = disputes_to_answer()
    dispute = bank.dispute(shop.pay(5000).body.id, evidence_seconds=600)
    assert disputes_to_answer() == (number + 1, dispute.evidence_due_at)

    answer(shop, dispute)
    assert disputes_to_answer() == (number + 1, dispute.evidence_due_at)
    deliver_responses()

    assert disputes_to_answer()[0] == number


def test_an_acceptance_overtakes_the_request_for_a_response(shop, gateway, bank):
    opened, asked = bank.opened(shop.pay(5000).body.id)
    bank.inform(opened)
    dispute = Dispute.objects.get(gateway_key=opened["dispute"])
    accept_dispute(merchant_id=shop.merchant.pk, dispute_id=dispute.pk)
    deliver_responses()

    assert bank.inform(asked, bank.read(dispute)) == ["applied", "ignored", "applied"]

    dispute.refresh_from_db()
    assert (dispute.sequence, states(dispute)) == (3, ["opened", "lost"])
    check_books(gateway, shop.merchant)


def test_a_request_for_a_response_to_a_dispute_that_the_bank_decided_is_refused(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    asked = bank.read(dispute)
    bank.inform(bank.moved(str(dispute.gateway_key), "lost"))

    assert bank.inform(asked | {"sequence": 4})[-1] == "refused"
    check_books(gateway, shop.merchant)


def test_a_new_due_date_of_the_same_state_is_kept(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id, evidence_seconds=0)
    later = timezone.now() + timedelta(days=9)

    assert bank.inform(bank.read(dispute) | {"sequence": 3, "evidence_due_at": later.isoformat()})[-1] == "applied"

    dispute.refresh_from_db()
    assert dispute.evidence_due_at == later
    assert answer(shop, dispute).status == "under_review"


def test_a_dispute_waits_for_a_capture_whose_outcome_is_unknown(shop, gateway, bank):
    payment = shop.pay(20_000, capture=False).body
    request = {"merchant_id": shop.merchant.pk, "transaction_id": payment.id, "key": "capture"}
    create_capture(**request, body=CaptureInput(amount=10_922))  # captured, and the reply is lost
    opened, asked = bank.opened(payment.id, amount=10_922)

    assert bank.inform(opened, asked) == [None, None]
    shop.resolve()
    assert bank.inform() == ["applied", "applied"]
    check_books(gateway, shop.merchant)


def test_a_dispute_of_an_authorization_of_which_nothing_was_captured_is_refused(shop, gateway, bank):
    payment = shop.pay(5000, capture=False).body

    assert bank.inform(bank.claimed(payment.id)) == ["refused"]


def test_a_dispute_of_an_unknown_charge_waits(shop, gateway, bank):
    claimed = bank.claimed(shop.pay(5000).body.id, charge="00000000-0000-4000-8000-000000000000")

    assert bank.inform(claimed) == [None]


def test_a_dispute_of_a_charge_that_a_much_later_retry_adopted_is_found(shop, gateway, bank):
    payment = Transaction.objects.get(id=shop.pay(5000).body.id)
    charged = {"charged_at": (payment.created_at - timedelta(days=3)).isoformat()}

    assert bank.inform(*(event | charged for event in bank.opened(payment.id))) == ["applied", "applied"]
    check_books(gateway, shop.merchant)


def test_a_payment_that_is_older_than_the_disputed_charge_is_not_found(shop, gateway, bank):
    payment = shop.pay(5000).body
    later = timezone.now() + timedelta(hours=1)

    assert bank.inform(bank.claimed(payment.id, charged_at=later.isoformat())) == [None]


@pytest.mark.parametrize(
    "change",
    [{"sequence": 2}, {"state": "gone"}, {"fee": -1}, {"reason": ""}, {"reason": "a\0b"}, {"charged_at": "today"}],
)
def test_a_dispute_that_cannot_be_read_changes_nothing(shop, gateway, bank, change):
    payment = shop.pay(5000).body

    assert bank.inform(bank.claimed(payment.id, **change)) == ["unreadable"]
    assert not Dispute.objects.filter(transaction_id=payment.id).exists()


@pytest.mark.parametrize("decided", [None, "lost"])
def test_a_refund_of_a_disputed_payment_is_refused_with_a_sentence(shop, gateway, bank, decided):
    payment = shop.pay(5000).body
    dispute = bank.dispute(payment.id, amount=1000)
    if decided:
        bank.inform(bank.moved(str(dispute.gateway_key), decided))

    with pytest.raises(Conflict) as refusal:
        shop.refund(payment.id, 100)

    assert refusal.value.code == "transaction_disputed"
    assert str(dispute.pk) in refusal.value.detail
    assert Transaction.objects.get(id=payment.id).amount_reserved == 0


def test_evidence_sent_twice_counts_once(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)

    answer(shop, dispute)
    answer(shop, dispute)

    assert DisputeResponse.objects.filter(dispute=dispute).count() == 1
    assert states(dispute)[-1] == "under_review"


def test_the_first_evidence_repeated_in_pre_arbitration_leaves_the_second_answer_open(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer(shop, dispute)
    deliver_responses()
    bank.inform(bank.read(dispute), bank.moved(str(dispute.gateway_key), "pre_arbitration"))

    repeated = answer(shop, dispute)

    assert repeated.status == "pre_arbitration"
    assert DisputeResponse.objects.filter(dispute=dispute).count() == 1
    assert answer(shop, dispute, "Here is more.").status == "final_review"


def test_each_of_both_responses_can_be_repeated_and_keeps_its_outcome(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    texts = ("It was delivered.", "Here is more.")
    for text in texts:
        assert not respond(shop, dispute, text).is_replay
        deliver_responses()
        if text == texts[0]:
            bank.inform(bank.read(dispute), bank.moved(str(dispute.gateway_key), "pre_arbitration"))
    before = list(dispute.responses.values())

    repeated = [respond(shop, dispute, text) for text in (*texts, *texts)]

    assert {(one.is_replay, one.dispute.status) for one in repeated} == {(True, "final_review")}
    assert list(dispute.responses.values()) == before
    assert [(one["outcome"], one["failure_code"]) for one in before] == [("taken", None)] * 2
    check_books(gateway, shop.merchant)


def test_a_response_that_the_bank_no_longer_takes_is_stored_as_refused(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer(shop, dispute)
    lost = bank.moved(str(dispute.gateway_key), "lost")  # before the worker delivers the evidence

    deliver_responses()
    bank.inform(lost)

    response = DisputeResponse.objects.get(dispute=dispute)
    assert (response.outcome, response.failure_code) == ("refused", "not_awaiting_response")
    assert respond(shop, dispute).is_replay
    assert states(dispute)[-1] == "lost"
    check_books(gateway, shop.merchant)


def test_an_acceptance_can_be_repeated_after_the_bank_closed_the_dispute(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    request = {"merchant_id": shop.merchant.pk, "dispute_id": dispute.pk}
    assert not accept_dispute(**request).is_replay
    deliver_responses()
    bank.inform(bank.read(dispute))

    again = accept_dispute(**request)

    assert (again.is_replay, again.dispute.status) == (True, "lost")
    assert [one.outcome for one in dispute.responses.all()] == ["taken"]
    check_books(gateway, shop.merchant)


def test_other_evidence_after_the_first_is_refused(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer(shop, dispute)

    with pytest.raises(Conflict) as refusal:
        answer(shop, dispute, "Another text.")
    with pytest.raises(Conflict):
        accept_dispute(merchant_id=shop.merchant.pk, dispute_id=dispute.pk)

    assert refusal.value.code == "not_awaiting_response"


def test_evidence_after_its_due_date_is_refused(shop, gateway, bank):
    opened, asked = bank.opened(shop.pay(5000).body.id)
    bank.inform(opened, asked | {"evidence_due_at": (timezone.now() - timedelta(seconds=1)).isoformat()})
    dispute = Dispute.objects.get(gateway_key=opened["dispute"])

    with pytest.raises(Conflict) as refusal:
        answer(shop, dispute)

    assert refusal.value.code == "evidence_overdue"


def test_another_merchant_cannot_answer(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)

    with pytest.raises(NotFound):
        answer(Shop.open(), dispute)
    with pytest.raises(NotFound):
        accept_dispute(merchant_id=Shop.open().merchant.pk, dispute_id=dispute.pk)


def test_a_response_waits_until_the_gateway_answers(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer(shop, dispute)
    gateway.stop()
    try:
        deliver_responses()
        response = DisputeResponse.objects.get(dispute=dispute)
        assert (response.delivered_at, response.attempts) == (None, 1)
    finally:
        gateway.start()

    def under_review() -> bool:
        DisputeResponse.objects.filter(pk=response.pk).update(due_at=timezone.now() - timedelta(seconds=1))
        deliver_responses()
        return bank.read(dispute)["state"] == "under_review"

    # The responses of other tests may have failed meanwhile, too, and opened the circuit breaker for some seconds.
    wait_until(under_review, 30, "the response is under review")


@pytest.fixture
def fault(monkeypatch):
    """Let the client raise an error instead of sending the evidence of one dispute."""

    def run(dispute: Dispute, error: Exception) -> None:
        client = gateways.get("simulator")
        send = client.submit_evidence

        def submit(key, **request):
            if request["dispute"] == dispute.gateway_key:
                raise error
            return send(key, **request)

        monkeypatch.setattr(client, "submit_evidence", submit)

    yield run
    monkeypatch.undo()
    DisputeResponse.objects.filter(delivered_at=None).update(due_at=Now())
    deliver_responses()


def test_a_response_that_cannot_be_sent_does_not_stop_the_others(shop, gateway, bank, fault):
    broken, other = (bank.dispute(shop.pay(5000).body.id) for _ in range(2))
    answer(shop, broken)
    answer(shop, other)
    fault(broken, ValueError("this response cannot be sent"))

    deliver_responses()

    response = DisputeResponse.objects.get(dispute=broken)
    assert (response.delivered_at, response.attempts) == (None, 1)
    assert response.due_at > response.created_at
    assert bank.read(other)["state"] == "under_review"


def test_an_unavailable_database_stops_the_delivery_of_responses(shop, gateway, bank, fault):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer(shop, dispute)
    fault(dispute, OperationalError("the database is unavailable"))

    with pytest.raises(OperationalError):
        deliver_responses()

    assert DisputeResponse.objects.get(dispute=dispute).attempts == 0


def test_the_admin_finds_a_dispute_by_its_id_and_by_its_payment(shop, bank):
    wanted, other = (bank.dispute(shop.pay(5000).body.id) for _ in range(2))
    client, disputes = sign_in("view_dispute"), reverse("admin:payments_dispute_changelist")

    for term in (wanted.pk, wanted.transaction_id):
        page = client.get(disputes, {"q": str(term)}).text
        assert str(wanted.pk) in page
        assert str(other.pk) not in page
