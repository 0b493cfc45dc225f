"""The states of an operation: the database refuses every step that the table does not list."""

from typing import Any, get_args
from uuid import uuid4

import pytest
from django.db import IntegrityError, connections
from django.db.transaction import atomic, set_rollback

from payments import schemas
from payments.ledger.postings import ACCOUNTS, POSTINGS, legs_of
from payments.models import LedgerLeg, Merchant
from payments.states import AUTHORIZATION, CAPTURE, CHARGE, DISPUTE, LIFECYCLES, REFUND, VOID, ChargeStatus, Lifecycle

PAYMENT = """
INSERT INTO payments_transaction (id, merchant_id, idempotency_key, amount, currency, status, fee, fee_basis_points,
    gateway_key, fraud_reasons, metadata, settled_at, manual_capture, review, manually_captured, capture_before)
VALUES (%(id)s, %(merchant)s, 'k', 10, 'EUR', %(status)s, 0, 0, %(id)s, '[]', '{}', CASE WHEN %(final)s THEN now() END,
    %(manual)s, CASE WHEN %(manual)s THEN 'hold' END,
    CASE WHEN %(manual)s AND %(status)s = 'succeeded' THEN 10 ELSE 0 END,
    CASE WHEN %(manual)s AND %(status)s IN ('authorized', 'in_review', 'succeeded', 'voided') THEN now() END)
"""
OPERATION_ROW = """
INSERT INTO payments_{} (id, transaction_id, idempotency_key, amount, status, gateway_key, settled_at {})
VALUES (%(id)s, %(payment)s, 'r', 10, %(status)s, %(id)s, CASE WHEN %(final)s THEN now() END {})
"""
DISPUTE_ROW = """
INSERT INTO payments_dispute (id, merchant_id, transaction_id, amount, fee, reason, status, sequence, gateway_key,
    evidence_due_at, settled_at)
VALUES (%(id)s, %(merchant)s, %(payment)s, 10, 1, 'fraud', %(status)s, 1, %(id)s, now(),
    CASE WHEN %(final)s THEN now() END)
"""
STEP = "UPDATE payments_{} SET status = %(new)s, settled_at = CASE WHEN %(final)s THEN now() END WHERE id = %(id)s"
# What a step to `authorized` or `succeeded` sets besides, so that only the step itself can be refused.
PAYMENT_STEP = """
UPDATE payments_transaction SET status = %(new)s, settled_at = CASE WHEN %(final)s THEN now() END,
    manually_captured = CASE WHEN %(manual)s AND %(new)s = 'succeeded' THEN 10 ELSE manually_captured END,
    capture_before = CASE WHEN %(manual)s AND %(new)s IN ('authorized', 'in_review', 'succeeded', 'voided')
        THEN coalesce(capture_before, now()) END
WHERE id = %(id)s
"""


def allows(merchant: Merchant, lifecycle: Lifecycle, old: str, new: str) -> bool:
    """Return whether the database lets a row go from `old` to `new`, in a transaction that is rolled back."""
    key, payment = uuid4(), uuid4()
    is_payment = lifecycle.statuses is ChargeStatus
    with atomic(using="owner"), connections["owner"].cursor() as cursor:
        values: dict[str, Any] = {
            "merchant": merchant.pk,
            "payment": payment,
            "manual": lifecycle is AUTHORIZATION,
            "new": new,
        }
        if not is_payment:
            cursor.execute(PAYMENT, {**values, "id": payment, "status": "succeeded", "final": True})
        row = {**values, "id": key, "status": old, "final": old in lifecycle.final}
        final = (", final", ", true") if lifecycle is CAPTURE else ("", "")
        operation_row = DISPUTE_ROW if lifecycle is DISPUTE else OPERATION_ROW.format(lifecycle.operation, *final)
        cursor.execute(PAYMENT if is_payment else operation_row, row)
        try:
            with atomic(using="owner"):
                step = PAYMENT_STEP if is_payment else STEP.format(lifecycle.operation)
                cursor.execute(step, {**row, "final": new in lifecycle.final})
        except IntegrityError:
            allowed = False
        else:
            allowed = True
        set_rollback(True, using="owner")
    return allowed


@pytest.mark.parametrize("lifecycle", LIFECYCLES.values(), ids=lambda lifecycle: lifecycle.operation)
def test_the_database_allows_exactly_the_steps_of_the_table(merchant, lifecycle):
    statuses = lifecycle.statuses.values
    steps = {
        (old, new)
        for old in lifecycle.states
        for new in statuses
        if old != new and allows(merchant, lifecycle, old, new)
    }

    assert steps == {(old, new) for old, following in lifecycle.steps.items() for new in following}


def test_the_api_shows_the_states_of_the_table():
    assert set(get_args(schemas.PaymentStatus)) == set(CHARGE.statuses.values)
    assert set(get_args(schemas.DisputeStatus)) == set(DISPUTE.statuses.values)
    for lifecycle in (CAPTURE, VOID, REFUND):
        assert set(get_args(schemas.OperationStatus)) == set(lifecycle.statuses.values)


def test_every_outcome_of_the_gateway_is_a_state():
    for lifecycle in LIFECYCLES.values():
        assert set(lifecycle.outcomes.values()) <= set(lifecycle.statuses.values) - set(lifecycle.initial)


@pytest.mark.parametrize("kind", POSTINGS)
@pytest.mark.parametrize(("amount", "fee"), [(1250, 19), (1, 0), (500, 500)])
def test_the_legs_of_a_posting_sum_to_zero(kind, amount, fee):
    assert sum(value for _, value in legs_of(kind, amount=amount, fee=fee)) == 0


def test_every_account_is_posted_to():
    assert {leg.account for legs in POSTINGS.values() for leg in legs} == set(ACCOUNTS) == set(LedgerLeg.Account.values)
