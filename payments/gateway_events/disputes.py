"""Disputes, as the gateway's events describe them: one event for each change, numbered by `sequence`."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import OperationalError
from django.db.transaction import atomic
from msgspec import Meta
from psycopg.errors import QueryCanceled

from payments.gateway_events.errors import NotYet, Refused
from payments.gateway_events.search import find_by_key
from payments.ids import first_id_at
from payments.models import Dispute, DisputeResponse, Transaction, Unresolved
from payments.schemas import MAX_AMOUNT, Amount, Moment
from payments.services.disputes import Claim, lock_dispute, open_dispute, take_step
from payments.states import DISPUTE, DISPUTE_RESPONSES, ChargeStatus, DisputeStatus

ACTOR = "gateway"
# Between our request for a charge and the gateway's decision: with held calls and both clocks.
BEFORE, AFTER = timedelta(minutes=20), timedelta(minutes=1)


class DisputeChange(msgspec.Struct):
    """The whole dispute after a change. `charge` is the key of the charge or authorization."""

    dispute: UUID
    sequence: Annotated[int, Meta(ge=1, le=1000)]
    charge: UUID
    charged_at: Moment
    state: DisputeStatus
    amount: Amount
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    fee: Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
    reason: Annotated[str, Meta(min_length=1, max_length=100)]
    evidence_due_at: Moment | None = None

    def __post_init__(self) -> None:
        if (self.state == DisputeStatus.OPENED) != (self.sequence == 1):
            raise ValueError("the first event opens the dispute, and no other does")
        if self.state in DISPUTE_RESPONSES and self.evidence_due_at is None:
            raise ValueError("evidence_due_at is missing")


def apply_dispute_change(change: DisputeChange) -> bool:
    """Take the step. Raises NotYet if an earlier event is missing, Refused if it contradicts our rows.

    A refused change counts in the sequence: the gateway's later changes are applied. One that came before must still
    agree with our rows.
    """
    with atomic():
        known = Dispute.objects.filter(gateway_key=change.dispute).first()
        payment, dispute = lock_dispute(
            change.dispute, known.transaction_id if known else find_payment(change.charge, change.charged_at)
        )
        if payment.gateway != settings.GATEWAY_NAME:  # it went on there (`failover.py`), under the same key
            raise Refused(f"the payment is at the gateway {payment.gateway}")
        if dispute is None:
            if change.sequence > 1:
                raise NotYet("the event that opens the dispute is missing")
            open_as_described(payment, change)
            return True
        if change.sequence > dispute.sequence + 1:
            raise NotYet(f"event {dispute.sequence + 1} of the dispute is missing")
        is_new = change.sequence > dispute.sequence
        if is_new:
            dispute.sequence = change.sequence
            dispute.save(update_fields=["sequence"])
            if _is_overtaken(dispute, change):
                return False
        contradiction = _contradiction(payment, dispute, change, is_new=is_new)
        if contradiction is None:
            if is_new:
                _follow(payment, dispute, change)
            return is_new
    raise Refused(contradiction)  # after the commit


def _is_overtaken(dispute: Dispute, change: DisputeChange) -> bool:
    """Return True if the bank asked for a response before it knew that the merchant had accepted."""
    if dispute.status != DisputeStatus.LOST or change.state not in DISPUTE_RESPONSES:
        return False
    return dispute.responses.filter(kind=DisputeResponse.Kind.ACCEPTANCE).exists()


def _contradiction(payment: Transaction, dispute: Dispute, change: DisputeChange, *, is_new: bool) -> str | None:
    if change.charge != payment.gateway_key:
        return "the dispute is of another charge"
    if (change.amount, change.currency, change.fee) != (dispute.amount, payment.currency, dispute.fee):
        return f"the dispute is of {dispute.amount} {payment.currency} with a fee of {dispute.fee}"
    if change.state == dispute.status:
        return None
    if is_new and change.state not in DISPUTE.steps.get(dispute.status, ()):
        return f"a dispute that is {dispute.status} cannot become {change.state}"
    if not is_new and not DISPUTE.leads_to(change.state, dispute.status):
        return f"a dispute that is {dispute.status} cannot have been {change.state} before"
    return None


def _follow(payment: Transaction, dispute: Dispute, change: DisputeChange) -> None:
    """Take the step, unless our own response took it before: then only the due date can be new."""
    if change.state != dispute.status:
        take_step(payment, dispute, change.state, actor=ACTOR, evidence_due_at=change.evidence_due_at)
    elif change.state in DISPUTE_RESPONSES:
        dispute.evidence_due_at = change.evidence_due_at
        dispute.save(update_fields=["evidence_due_at"])


def find_payment(charge: UUID, charged_at: datetime) -> UUID:
    """Return the payment's id. Ids contain their time, and most disputed charges are found within their minutes.

    A key that is repeated after the database lost its payment adopts the first charge under a newer id.
    """
    first, last = first_id_at(charged_at - BEFORE), first_id_at(charged_at + AFTER)
    near = Transaction.objects.filter(id__gte=first, id__lt=last, gateway_key=charge).order_by("id")
    try:
        found = near.values_list("id", flat=True).first()
        found = found or min((one for one in find_by_key(Transaction, charge) if one >= first), default=None)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise NotYet("the search for the disputed payment took too long") from error  # events behind it go on
    if found is None:
        raise NotYet("the disputed payment is not known")
    return found


def open_as_described(payment: Transaction, change: DisputeChange) -> Dispute:
    """Store a new dispute of a locked payment. Raises NotYet or Refused if its money is not all captured here."""
    _refuse_other_money(payment, change)
    claim = Claim(change.dispute, change.amount, change.fee, change.reason, change.sequence)
    return open_dispute(payment, claim, actor=ACTOR)


def _refuse_other_money(payment: Transaction, change: DisputeChange) -> None:
    if payment.status in (*Transaction.OPEN, ChargeStatus.REQUIRES_ACTION):
        raise NotYet("the disputed payment is in progress")
    if change.currency != payment.currency or change.amount > payment.amount_captured:
        if Unresolved.objects.filter(transaction_id=payment.id).exists():
            raise NotYet("an operation of the disputed payment is in progress")  # such as its capture
        raise Refused(f"{payment.amount_captured} {payment.currency} of the payment can be disputed")
