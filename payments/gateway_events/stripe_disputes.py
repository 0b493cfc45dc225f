"""Stripe's disputes. An event names one that has changed: it is read again, so events may come in any order.

Stripe reports states, not steps. We take the steps up to its state, as far as its money has moved: a dispute is opened
here once its money is taken, and won once it is given back. An inquiry (`warning_...`) takes none: its states are
entries of the payment's journal.
"""

import logging
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from django.db.transaction import atomic
from msgspec import Meta

from fintech.texts import contains_nul
from payments.gateway.base import GatewayError
from payments.gateway.registry import STRIPE, gateways
from payments.gateway.stripe.amounts import from_stripe
from payments.gateway.stripe.disputes import StripeDispute
from payments.gateway.stripe.gateway import StripeGateway
from payments.gateway_events.disputes import ACTOR, DisputeChange, find_payment, open_as_described
from payments.gateway_events.errors import NotYet, Refused
from payments.models import Dispute, Event, Transaction
from payments.services.disputes import lock_dispute, take_step
from payments.states import DISPUTE_RESPONSES, INQUIRIES, INQUIRY_PREFIX, DisputeStatus

logger = logging.getLogger("payments.gateway_events")

# The steps of a dispute that is not lost: from each of them it can be lost.
PATH = (DisputeStatus.OPENED, DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW, DisputeStatus.WON)
# Stripe's states once it has taken money.
STATES = {
    "needs_response": DisputeStatus.NEEDS_RESPONSE,
    "under_review": DisputeStatus.UNDER_REVIEW,
    "won": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}
INQUIRY_STATES = {f"warning_{state}": f"{INQUIRY_PREFIX}{state}" for state in INQUIRIES}


class DisputeName(msgspec.Struct):
    id: Annotated[str, Meta(pattern="^d[pu]_[A-Za-z0-9_]{1,250}$")]


class DisputeEvent(msgspec.Struct):
    object: DisputeName


def apply_dispute(event: DisputeEvent) -> bool:
    """Take the steps up to Stripe's state. Raises NotYet if Stripe does not answer, Refused if both contradict."""
    theirs = _read(event.object.id)
    if theirs.charge is None or theirs.payment_intent is None:
        return False
    charged_at = datetime.fromtimestamp(theirs.payment_intent.created, UTC)
    if not theirs.moved.taken:
        return theirs.status in INQUIRY_STATES and _note_inquiry(theirs, find_payment(theirs.charge, charged_at))
    state = _state_of(theirs)
    change = DisputeChange(
        dispute=theirs.key,
        sequence=1,  # Stripe does not number its events
        charge=theirs.charge,
        charged_at=charged_at,
        state=DisputeStatus.OPENED,
        amount=theirs.moved.taken,
        currency=theirs.currency.upper(),
        fee=theirs.moved.fee,
        reason=theirs.reason,
        evidence_due_at=_due_date_of(theirs),
    )
    with atomic():
        known = Dispute.objects.filter(gateway_key=theirs.key).first()
        transaction_id = known.transaction_id if known else find_payment(theirs.charge, charged_at)
        payment, ours = lock_dispute(theirs.key, transaction_id)
        _refuse_other_gateway(payment)
        if ours is None:
            ours = open_as_described(payment, change)
        elif (ours.amount, ours.fee) != (change.amount, change.fee):
            raise Refused(f"the dispute is of {ours.amount} with a fee of {ours.fee}")
        return _follow(payment, ours, change, state) or known is None


@atomic
def _note_inquiry(theirs: StripeDispute, transaction_id: UUID) -> bool:
    """Write an inquiry's state into the journal, which informs the merchant. Returns False if it is the last entry."""
    payment = Transaction.objects.select_for_update().get(id=transaction_id)
    _refuse_other_gateway(payment)
    kind, currency, due_by = INQUIRY_STATES[theirs.status], theirs.currency.upper(), theirs.evidence_details.due_by
    inquiry = {
        "id": theirs.id,
        "amount": from_stripe(theirs.amount, currency),
        "currency": currency,
        "reason": theirs.reason,
        "evidence_due_at": datetime.fromtimestamp(due_by, UTC).isoformat() if due_by else None,
    }
    noted = Event.objects.filter(transaction=payment, kind__in=INQUIRY_STATES.values(), data__id=theirs.id).last()
    if noted and (noted.kind, noted.data) == (kind, inquiry):
        return False
    Event.objects.create(transaction=payment, kind=kind, actor=ACTOR, data=inquiry)
    extra = {"transaction": str(payment.id), "kind": kind, "evidence_due_at": inquiry["evidence_due_at"]}
    logger.warning("inquiry", extra=extra)
    return True


def _refuse_other_gateway(payment: Transaction) -> None:
    if payment.gateway != STRIPE:
        raise Refused(f"the payment is at the gateway {payment.gateway}")


def _read(name: str) -> StripeDispute:
    try:
        gateway = gateways.get(STRIPE)
        assert isinstance(gateway, StripeGateway)
        theirs = msgspec.convert(gateway.find_dispute(name), StripeDispute)
    except GatewayError as error:
        raise NotYet(str(error)) from error
    except msgspec.ValidationError as error:
        raise Refused(f"Stripe's dispute cannot be read: {error}") from error
    if contains_nul(theirs):
        raise Refused("Stripe's dispute cannot be read: a text contains the character NUL")
    return theirs


def _state_of(theirs: StripeDispute) -> DisputeStatus:
    """Return our name of the state. Without a due date the bank allows no response."""
    state = STATES.get(theirs.status)
    if state is None:
        raise Refused(f"a dispute that has taken money cannot be {theirs.status:.40}")
    if state == DisputeStatus.NEEDS_RESPONSE and not theirs.evidence_details.due_by:
        return DisputeStatus.OPENED
    if state == DisputeStatus.WON and not theirs.moved.returned:
        return DisputeStatus.UNDER_REVIEW  # an event follows when the money is back
    return state


def _due_date_of(theirs: StripeDispute) -> datetime:
    """Return the time for a response; one that the bank does not allow was due when the dispute began."""
    return datetime.fromtimestamp(theirs.evidence_details.due_by or theirs.created, UTC)


def _follow(payment: Transaction, ours: Dispute, change: DisputeChange, state: DisputeStatus) -> bool:
    """Take the steps that are missing. Our own response may be ahead of Stripe."""
    due = change.evidence_due_at
    steps = _steps(ours, state)
    for status in steps:
        take_step(payment, ours, status, actor=ACTOR, evidence_due_at=due if status in DISPUTE_RESPONSES else None)
    if steps or ours.status not in DISPUTE_RESPONSES or ours.evidence_due_at == due:
        return bool(steps)
    ours.evidence_due_at = due
    ours.save(update_fields=["evidence_due_at"])
    return True


def _steps(ours: Dispute, state: DisputeStatus) -> tuple[str, ...]:
    """Return the steps from our state to theirs; none if ours is ahead. Raises Refused for two different ends."""
    if ours.status == state:
        return ()
    if ours.status in Dispute.FINAL:
        if state in Dispute.FINAL:
            raise Refused(f"our dispute is {ours.status}, and Stripe's is {state}")
        return ()
    if state == DisputeStatus.LOST:
        return (state,)
    return PATH[PATH.index(DisputeStatus(ours.status)) + 1 : PATH.index(state) + 1]
