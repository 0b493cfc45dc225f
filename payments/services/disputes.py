"""Disputes: follow the gateway's events, take the merchant's responses, and deliver these to the gateway.

Every step locks the payment's row first and the dispute's second, as refunds lock the payment: the database decides
which of both was first.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now
from django.db.transaction import atomic
from django.utils import timezone
from uuid_utils.compat import uuid7

from fintech.errors import DATABASE_ERRORS
from fintech.jobs import growing_pause
from payments.errors import Conflict, NotFound
from payments.gateway.registry import gateways
from payments.ledger.postings import POSTINGS
from payments.models import Dispute, DisputeResponse, Event, Transaction
from payments.services.operations import post
from payments.states import DISPUTE, DISPUTE_RESPONSES

logger = logging.getLogger("payments")

BATCH_SIZE = 50
MAX_PAUSE_SECONDS = 600.0
# The states in which the merchant may give the amount up.
ACCEPTABLE = ("opened", *DISPUTE_RESPONSES)
# The gateway's answers to a response. It refuses one if the bank decided before; an event says how.
OUTCOMES = {"approved": DisputeResponse.Outcome.TAKEN, "declined": DisputeResponse.Outcome.REFUSED}


@dataclass(frozen=True)
class Claim:
    """A new dispute, as the gateway describes it."""

    gateway_key: UUID
    amount: int
    fee: int
    reason: str
    sequence: int


@dataclass(frozen=True)
class Responded:
    """A dispute after a response to it; `is_replay` if an equal one was stored before."""

    dispute: Dispute
    is_replay: bool


def refuse_if_disputed(payment: Transaction) -> None:
    """Raise Conflict if a locked payment has a dispute that is not won: its money is held back or lost."""
    dispute = payment.disputes.exclude(status=Dispute.Status.WON).first()
    if dispute is not None:
        detail = f"The transaction cannot be refunded: its dispute {dispute.id} is {dispute.status}."
        raise Conflict("transaction_disputed", detail)


def lock_dispute(gateway_key: UUID, transaction_id: UUID) -> tuple[Transaction, Dispute | None]:
    """Return the locked payment and its locked dispute, if there is one. Call it within a database transaction."""
    payment = Transaction.objects.select_for_update().get(id=transaction_id)
    return payment, Dispute.objects.select_for_update().filter(gateway_key=gateway_key).first()


def open_dispute(payment: Transaction, claim: Claim, *, actor: str) -> Dispute:
    """Store a dispute of a locked payment, and post the money that the gateway holds back."""
    dispute = Dispute.objects.create(
        id=uuid7(),
        merchant_id=payment.merchant_id,
        transaction=payment,
        gateway_key=claim.gateway_key,
        amount=claim.amount,
        fee=claim.fee,
        reason=claim.reason,
        status=Dispute.Status.OPENED,
        sequence=claim.sequence,
    )
    _record(payment, dispute, actor)
    return dispute


def take_step(
    payment: Transaction, dispute: Dispute, status: str, *, actor: str, evidence_due_at: datetime | None = None
) -> None:
    """Move a locked dispute to `status`, write the journal, and post what the step moves."""
    dispute.status = status
    if evidence_due_at is not None:
        dispute.evidence_due_at = evidence_due_at
    dispute.settled_at = timezone.now() if status in Dispute.FINAL else None
    dispute.save(update_fields=["status", "evidence_due_at", "settled_at"])
    _record(payment, dispute, actor)


def submit_evidence(
    *, merchant_id: int, dispute_id: UUID, text: str, files: Sequence[dict[str, Any]], actor: str = "api"
) -> Responded:
    """Store the merchant's evidence; a repeated equal submission changes nothing.

    Raises NotFound, or Conflict unless the dispute waits for a response.
    """
    return _respond(
        merchant_id, dispute_id, DisputeResponse(kind="evidence", text=text, files=list(files), actor=actor)
    )


def accept_dispute(*, merchant_id: int, dispute_id: UUID, actor: str = "api") -> Responded:
    """Give up the disputed amount; a repeated acceptance changes nothing.

    Raises NotFound, or Conflict if the dispute is under review or decided.
    """
    return _respond(merchant_id, dispute_id, DisputeResponse(kind="acceptance", actor=actor))


@atomic
def _respond(merchant_id: int, dispute_id: UUID, response: DisputeResponse) -> Responded:
    found = Dispute.objects.filter(id=dispute_id, merchant_id=merchant_id).first()
    if found is None:
        raise NotFound("dispute")
    payment, dispute = lock_dispute(found.gateway_key, found.transaction_id)
    assert dispute is not None
    if _is_repeated(dispute, response):
        return Responded(dispute, is_replay=True)
    is_evidence = response.kind == DisputeResponse.Kind.EVIDENCE
    if dispute.status not in (DISPUTE_RESPONSES if is_evidence else ACCEPTABLE):
        raise Conflict("not_awaiting_response", f"A dispute that is {dispute.status} takes no {response.kind}.")
    if is_evidence and dispute.evidence_due_at and dispute.evidence_due_at <= timezone.now():
        raise Conflict("evidence_overdue", "It is too late for evidence: the time evidence_due_at has passed.")
    response.dispute = dispute
    response.round = 2 if dispute.status == Dispute.Status.PRE_ARBITRATION else 1
    response.save(force_insert=True)
    status = DISPUTE_RESPONSES[dispute.status] if is_evidence else Dispute.Status.LOST
    take_step(payment, dispute, status, actor=response.actor)
    return Responded(dispute, is_replay=False)


def _is_repeated(dispute: Dispute, response: DisputeResponse) -> bool:
    """Return True for a stored response, which a client may repeat after the bank has asked for the second one."""
    sent = (response.kind, response.text, response.files)
    return any((stored.kind, stored.text, stored.files) == sent for stored in dispute.responses.all())


def deliver_responses() -> int:
    """Send the responses that are due to the gateway, until it has taken each. Returns how many there were."""
    due = DisputeResponse.objects.filter(delivered_at=None, due_at__lte=Now()).select_related("dispute__transaction")
    responses = list(due.order_by("due_at")[:BATCH_SIZE])
    connection.close()  # the gateway may take seconds
    for response in responses:
        try:
            _deliver(response)
        except DATABASE_ERRORS:
            raise
        except Exception:  # a response that cannot be sent must not stop those behind it
            logger.exception("dispute_response_failed", extra={"dispute": str(response.dispute_id)})
            _wait(response)
    return len(responses)


def _deliver(response: DisputeResponse) -> None:
    dispute = response.dispute
    gateway = gateways.get(dispute.transaction.gateway)
    named: Any = {"dispute": dispute.gateway_key, "reference": dispute.transaction.gateway_reference}
    if response.kind == DisputeResponse.Kind.EVIDENCE:
        answer = gateway.submit_evidence(response.gateway_key, **named, text=response.text, files=response.files)
    else:
        answer = gateway.accept_dispute(response.gateway_key, **named)
    if answer.outcome in OUTCOMES:
        waiting = DisputeResponse.objects.filter(pk=response.pk, delivered_at=None)
        outcome = OUTCOMES[answer.outcome]
        waiting.update(delivered_at=Now(), outcome=outcome, failure_code=answer.failure_code)
    else:
        _wait(response)
    extra = {"dispute": str(dispute.id), "kind": response.kind, "outcome": answer.outcome, "code": answer.code}
    logger.info("dispute_response", extra=extra)


def _wait(response: DisputeResponse) -> None:
    pause = growing_pause(response.attempts, most=MAX_PAUSE_SECONDS, first=1.0)
    waiting = DisputeResponse.objects.filter(pk=response.pk, delivered_at=None)
    waiting.update(attempts=response.attempts + 1, due_at=Now() + timedelta(seconds=pause))


def _record(payment: Transaction, dispute: Dispute, actor: str) -> None:
    due = dispute.evidence_due_at
    event = Event.objects.create(
        transaction=payment,
        dispute_id=dispute.id,
        kind=DISPUTE.event_kind(dispute.status),
        actor=actor,
        data={"evidence_due_at": due.isoformat() if due else None},
    )
    if event.kind in POSTINGS:
        post(event, payment, amount=dispute.amount, fee=dispute.fee)
