"""Races of disputes: the database decides, and the books agree with the gateway."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.db import IntegrityError, connection
from django.db.models.functions import Now
from django.db.transaction import atomic, set_rollback

from fintech.database.connections import open_connection
from payments.errors import PaymentError
from payments.gateway_events.disputes import DisputeChange, apply_dispute_change
from payments.gateway_events.errors import NotYet
from payments.models import Dispute, DisputeResponse, Event, Refund, Transaction
from payments.services.disputes import accept_dispute, deliver_responses, submit_evidence
from payments.tests.consistency import check_books
from payments.tests.factories import make_payment

pytestmark = pytest.mark.processes


def together(*steps: Any) -> list[Any]:
    """Run all steps at the same moment. Returns their results or errors."""
    barrier = Barrier(len(steps))

    def run(step: Any) -> Any:
        try:
            barrier.wait(30)
            return step()
        except (PaymentError, NotYet) as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(steps)) as threads:
        return list(threads.map(run, steps))


def read(event: dict[str, Any]) -> DisputeChange:
    return msgspec.convert(event, DisputeChange)


@pytest.mark.parametrize("attempt", range(4))
def test_a_refund_beside_the_opening_of_a_dispute(shop, gateway, bank, attempt):
    payment = shop.pay(5000).body
    opened, asked = bank.opened(payment.id, amount=3000)

    refunded, applied = together(lambda: shop.refund(payment.id, 2000), lambda: apply_dispute_change(read(opened)))

    assert applied is True
    if isinstance(refunded, PaymentError):
        assert refunded.code == "transaction_disputed"
    else:  # it was first here, and the gateway refuses it
        assert (refunded.body.status, refunded.body.failure.code) == ("failed", "charge_disputed")
    bank.inform(asked)
    check_books(gateway, shop.merchant)


def test_one_of_several_equal_openings_counts(shop, gateway, bank):
    payment = shop.pay(5000).body
    opened, asked = bank.opened(payment.id)

    results = together(*[lambda: apply_dispute_change(read(opened))] * 4)

    assert sorted(results) == [False, False, False, True]
    assert Event.objects.filter(transaction_id=payment.id, kind="dispute_opened").count() == 1
    bank.inform(asked)
    check_books(gateway, shop.merchant)


def test_evidence_beside_an_acceptance(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer = {"merchant_id": shop.merchant.pk, "dispute_id": dispute.pk}

    results = together(lambda: submit_evidence(**answer, text="no", files=[]), lambda: accept_dispute(**answer))

    assert len([one for one in results if isinstance(one, PaymentError)]) == 1
    dispute.refresh_from_db()
    assert DisputeResponse.objects.filter(dispute=dispute).count() == 1
    assert dispute.status in ("under_review", "lost")
    check_books(gateway, shop.merchant)


def test_one_of_several_equal_responses_is_stored_and_the_others_repeat_it(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer = {"merchant_id": shop.merchant.pk, "dispute_id": dispute.pk}

    results = together(*[lambda: submit_evidence(**answer, text="no", files=[])] * 4)

    assert sorted(one.is_replay for one in results) == [False, True, True, True]
    assert {one.dispute.status for one in results} == {"under_review"}
    assert Event.objects.filter(dispute_id=dispute.pk, kind="dispute_under_review").count() == 1
    check_books(gateway, shop.merchant)


def test_one_of_two_different_texts_is_stored_and_the_other_is_refused(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    answer = {"merchant_id": shop.merchant.pk, "dispute_id": dispute.pk, "files": []}

    results = together(*(lambda text=text: submit_evidence(**answer, text=text) for text in ("one", "two")))

    (refused,) = [one for one in results if isinstance(one, PaymentError)]
    assert refused.code == "not_awaiting_response"
    assert dispute.responses.get().text == ("one", "two")[results.index(refused) - 1]
    check_books(gateway, shop.merchant)


def test_one_of_several_acceptances_gives_the_money_up(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)

    results = together(*[lambda: accept_dispute(merchant_id=shop.merchant.pk, dispute_id=dispute.pk)] * 3)

    assert sorted(one.is_replay for one in results) == [False, True, True]
    assert Event.objects.filter(dispute_id=dispute.pk, kind="dispute_lost").count() == 1
    check_books(gateway, shop.merchant)


def test_a_response_that_several_workers_deliver_has_one_outcome(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    submit_evidence(merchant_id=shop.merchant.pk, dispute_id=dispute.pk, text="no", files=[])

    together(*[deliver_responses] * 3)

    response = dispute.responses.get()
    assert (response.outcome, response.failure_code) == ("taken", None)
    assert bank.read(dispute)["state"] == "under_review"


def test_the_gateways_end_beside_the_merchants_evidence(shop, gateway, bank):
    dispute = bank.dispute(shop.pay(5000).body.id)
    lost = bank.moved(str(dispute.gateway_key), "lost")
    answer = {"merchant_id": shop.merchant.pk, "dispute_id": dispute.pk}

    together(lambda: submit_evidence(**answer, text="no", files=[]), lambda: apply_dispute_change(read(lost)))

    dispute.refresh_from_db()
    assert dispute.status == "lost"
    check_books(gateway, shop.merchant)


def test_a_dispute_waits_if_the_search_for_its_payment_takes_too_long(shop, gateway, bank):
    """The database's timeout must not look like an unavailable database, which stops all events."""
    change = read(bank.claimed(shop.pay(5000).body.id))

    with open_connection("lock") as other, other.transaction(force_rollback=True), undone():
        other.execute("LOCK TABLE payments_transaction")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '1s'")
        with pytest.raises(NotYet, match="too long"):
            apply_dispute_change(change)


def make_dispute(payment: Transaction, status: str = "opened", **fields: Any) -> Dispute:
    values = {"amount": payment.amount, "fee": 0, "reason": "fraud", "sequence": 1, "gateway_key": uuid4()}
    return Dispute.objects.create(
        merchant_id=payment.merchant_id, transaction=payment, status=status, **{**values, **fields}
    )


@contextmanager
def undone() -> Iterator[None]:
    """Undo all rows of the block: they are no dispute of the gateway."""
    with atomic():
        yield
        set_rollback(True)


def test_the_database_refuses_a_refund_of_a_disputed_payment(merchant):
    with undone():
        payment = make_payment(merchant)
        make_dispute(payment)
        refund = Refund(transaction=payment, idempotency_key="r", amount=1, gateway_key=uuid4(), status="processing")
        with pytest.raises(IntegrityError), atomic():
            refund.save(force_insert=True)


@pytest.mark.parametrize(
    "fields",
    [{"amount": 0}, {"fee": -1}, {"status": "gone"}, {"status": "needs_response"}, {"status": "won"}],
)
def test_the_database_refuses_a_dispute_that_cannot_be(merchant, fields):
    with undone():
        payment = make_payment(merchant)
        with pytest.raises(IntegrityError), atomic():
            make_dispute(payment, **fields)


@pytest.mark.parametrize("change", [{"amount": 1}, {"fee": 7}, {"reason": "other"}, {"sequence": 0}])
def test_the_database_refuses_to_rewrite_a_dispute(merchant, change):
    with undone():
        rows = Dispute.objects.filter(pk=make_dispute(make_payment(merchant)).pk)
        with pytest.raises(IntegrityError), atomic():
            rows.update(**change)


@pytest.mark.parametrize("change", [{"text": "other"}, {"files": []}, {"round": 2}, {"actor": "admin:eve"}])
def test_the_database_refuses_to_rewrite_evidence(merchant, change):
    with undone():
        dispute = make_dispute(make_payment(merchant))
        DisputeResponse.objects.create(dispute=dispute, round=1, kind="evidence", text="a", files=[{}], actor="api")
        with pytest.raises(IntegrityError), atomic():
            dispute.responses.update(**change)


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": "taken"},
        {"outcome": "gone", "delivered_at": Now()},
        {"outcome": "taken", "delivered_at": Now(), "failure_code": "late"},
        {"delivered_at": Now(), "failure_code": "late"},
    ],
)
def test_the_database_refuses_an_outcome_that_cannot_be(merchant, fields):
    with undone():
        dispute = make_dispute(make_payment(merchant))
        with pytest.raises(IntegrityError), atomic():
            DisputeResponse.objects.create(dispute=dispute, round=1, kind="evidence", actor="api", **fields)


def test_the_database_refuses_to_change_the_outcome_of_a_response(merchant):
    with undone():
        dispute = make_dispute(make_payment(merchant))
        fields = {"round": 1, "kind": "evidence", "actor": "api", "delivered_at": Now(), "outcome": "taken"}
        DisputeResponse.objects.create(dispute=dispute, **fields)
        with pytest.raises(IntegrityError), atomic():
            dispute.responses.update(outcome="refused")
