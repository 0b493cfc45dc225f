"""Store the gateway's answers to payments: the rows, and the end of a payment that the worker or an event decides."""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.conf import settings

from payments.failures import REFUSED_FOR
from payments.gateway.base import Answer
from payments.models import APPROVED, Transaction
from payments.services.refused_retries import note_declines
from payments.states import AUTHORIZATION, CHARGE, UNMOVED, ChargeStatus, Lifecycle
from payments.storage.group_commit import writer
from payments.storage.payment_sql import Part

logger = logging.getLogger("payments")


def settle_decision(
    lifecycle: Lifecycle, transaction_id: UUID, lease_token: UUID | None, answer: Answer, *, actor: str
) -> bool:
    """Store the gateway's decision about an open payment. Returns False if it was stored before."""
    part, row = outcome_row(lifecycle, transaction_id, lease_token, answer, actor=actor)
    settled = bool(writer.write(part, [row]))
    if not settled:
        note_contradiction(Transaction.objects.get(id=transaction_id), answer)
    elif answer.failure_code in REFUSED_FOR:
        note_declines([transaction_id])
    return settled


def note_contradiction(stored: Transaction, answer: Answer) -> None:
    """Log an answer that came after the outcome was stored, and differs from it: the gateway contradicts itself."""
    differs = {"approved": UNMOVED, "declined": APPROVED}
    if stored.status in differs.get(answer.outcome, ()):
        extra = {"transaction": str(stored.id), "status": stored.status, "outcome": answer.outcome, "code": answer.code}
        logger.error("gateway_contradiction", extra=extra)


def outcome_row(
    lifecycle: Lifecycle, transaction_id: UUID, lease_token: UUID | None, answer: Answer, *, actor: str
) -> tuple[Part, dict[str, Any]]:
    """Return the row that stores a known answer to a payment, and its part. A challenge has no lease."""
    row = settled_row(lifecycle, transaction_id, lease_token, answer, actor=actor)
    if lifecycle is AUTHORIZATION:
        row["hold_seconds"] = settings.AUTHORIZATION_HOLD_SECONDS
    if answer.challenge is not None:
        row["url"], row["expires_at"] = answer.challenge.url, answer.challenge.expires_at
        row["poll_seconds"] = settings.CHALLENGE_POLL_SECONDS
        return Part.CHALLENGED, row
    if answer.authentication is not None:
        row |= vars(answer.authentication)
        return Part.AUTHENTICATED, row
    return (Part.SETTLED if lifecycle is CHARGE else Part.AUTHORIZED), row


def settled_row(
    lifecycle: Lifecycle, operation_id: UUID, lease_token: UUID | None, answer: Answer, *, actor: str
) -> dict[str, Any]:
    return {
        "id": operation_id,
        "lease_token": lease_token,
        "status": lifecycle.outcomes[answer.outcome],
        "failure_code": answer.failure_code,
        "gateway_reference": answer.reference,
        "actor": actor,
        "data": journal_of(answer),
    }


def unknown_row(transaction_id: UUID, lease_token: UUID, answer: Answer) -> dict[str, Any]:
    return {
        "id": transaction_id,
        "lease_token": lease_token,
        "status": ChargeStatus.UNKNOWN,
        "actor": "api",
        "data": journal_of(answer),
    }


def journal_of(answer: Answer) -> dict[str, Sequence[dict[str, Any]]]:
    """Return the exchange with the gateway as the journal keeps it."""
    return {"gateway": [dict(vars(exchange)) for exchange in answer.exchanges]}
