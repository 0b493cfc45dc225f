"""One payment: score, store (T1), charge, settle (T2), in this order and no other."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from django.conf import settings
from uuid_utils.compat import uuid7

from fintech.database.connections import query, release
from fintech.http.problems import DATABASE_ERRORS
from fintech.telemetry import tracing
from fintech.telemetry.logging import request_id
from payments import metrics
from payments.api_keys import Principal
from payments.fraud import Verdict, count_verdict, score_payment
from payments.gateway.client import Answer, gateway
from payments.gateway.keys import charge_key
from payments.models import Transaction
from payments.schemas import Fraud, Payment, PaymentInput
from payments.serializers import show_failure, show_transaction
from payments.services.idempotency import Reply, first_reply, location_of, replay_payment
from payments.settlement.group_commit import writer

logger = logging.getLogger("payments")

# The gateway's outcome -> our status. `unavailable` and `error` are failures that are known not to be charges.
STATUS_OF_OUTCOME = {
    "approved": "succeeded",
    "declined": "declined",
    "error": "failed",
    "unavailable": "failed",
    "cancelled": "failed",
    "timeout": "unknown",
}


@dataclass
class Pending:
    """A payment from its validation to its answer."""

    id: UUID
    lease_token: UUID
    key: str
    gateway_key: UUID
    body: PaymentInput
    verdict: Verdict
    created_at: datetime | None = None

    @classmethod
    def of(cls, principal: Principal, key: str, body: PaymentInput) -> "Pending":
        gateway_key = charge_key(principal.gateway_namespace, key)
        return cls(uuid7(), uuid4(), key, gateway_key, body, score_payment(body, principal.fraud))

    def shown(
        self,
        status: str,
        *,
        settled_at: datetime | None = None,
        failure_code: str | None = None,
        gateway_reference: str | None = None,
    ) -> Payment:
        assert self.created_at is not None
        body = self.body
        return Payment(
            id=self.id,
            status=status,  # type: ignore[arg-type]
            amount=body.amount,
            amount_refunded=0,
            currency=body.currency,
            fraud=Fraud(self.verdict.score, self.verdict.reasons),
            failure=show_failure(failure_code),
            gateway_reference=gateway_reference,
            customer=body.customer,
            reference=body.reference,
            description=body.description,
            metadata=body.metadata or {},
            created_at=self.created_at,
            settled_at=settled_at,
        )

    def shown_blocked(self) -> Payment:
        return self.shown("blocked", settled_at=self.created_at, failure_code="fraud_blocked")


def create_payment(*, principal: Principal, key: str, body: PaymentInput) -> Reply:
    """Carry out one payment, or replay it if `key` was taken before.

    Raises Problem for what the client did, and a database error only before anything was charged.
    """
    with metrics.IN_PROGRESS.track_inprogress():
        with tracing.step("fraud"):
            pending = Pending.of(principal, key, body)
        with tracing.step("T1", tracing.DATABASE, kind="client"):
            stored = writer.store([stored_row(pending, principal, settings.LEASE_SECONDS)])
        if pending.id not in stored:
            return query(replay_payment, principal.merchant_id, key, body)
        metrics.RESULT["new"].inc()
        pending.created_at = stored[pending.id]
        count_verdict(pending.verdict)
        if pending.verdict.blocked:
            return first_reply(pending.shown_blocked(), location_of(pending.id))
        release()  # the gateway may take seconds
        answer = charge(pending)
        (payment,) = settle_payments([(pending, answer)])
        return first_reply(payment, location_of(payment.id), answer.seconds)


def charge(pending: Pending) -> Answer:
    return gateway().charge(
        pending.gateway_key,
        amount=pending.body.amount,
        currency=pending.body.currency,
        payment_method=pending.body.payment_method,
    )


def settle_payments(answered: Sequence[tuple[Pending, Answer]]) -> list[Payment]:
    """Store what the gateway said (T2). After a charge there is no error any more: at worst nobody knows yet."""
    known = [
        settled_row(pending.id, pending.lease_token, answer, actor="api")
        for pending, answer in answered
        if answer.is_known
    ]
    unknown = [
        unknown_row(pending.id, pending.lease_token, answer) for pending, answer in answered if not answer.is_known
    ]
    if unknown or any(row["status"] == "failed" for row in known):
        tracing.keep()
    settled: dict[UUID, datetime] = {}
    try:
        with tracing.step("T2", tracing.DATABASE, kind="client"):
            if known:
                settled = writer.settle(known)
            if unknown:
                writer.mark_unknown(unknown)
    except Exception as error:
        trace = None if isinstance(error, psycopg.Error) else error
        extra = {"payments": len(answered), "error": type(error).__name__}
        logger.warning("settle_failed", exc_info=trace, extra=extra)
        tracing.keep()
    stored = _find([pending.id for pending, answer in answered if answer.is_known and pending.id not in settled])
    return [
        _show_settled(pending, answer, settled.get(pending.id), stored.get(pending.id)) for pending, answer in answered
    ]


def _find(ids: Sequence[UUID]) -> dict[UUID, Transaction]:
    """Somebody else decided, or nobody knows whether our commit went through: what is stored counts."""
    try:
        return query(Transaction.objects.in_bulk, ids) if ids else {}
    except DATABASE_ERRORS:
        return {}


def _show_settled(pending: Pending, answer: Answer, settled_at: datetime | None, stored: Transaction | None) -> Payment:
    if stored is not None:
        return show_transaction(stored)
    if settled_at is None:
        return pending.shown("unknown")
    status = STATUS_OF_OUTCOME[answer.outcome]
    code = None if status == "succeeded" else answer.code
    return pending.shown(status, settled_at=settled_at, failure_code=code, gateway_reference=answer.reference)


# --- Rows for the statements -------------------------------------------------------------------------------


def stored_row(pending: Pending, principal: Principal, lease_seconds: float) -> dict[str, Any]:
    body, verdict = pending.body, pending.verdict
    return {
        "id": pending.id,
        "merchant_id": principal.merchant_id,
        "key": pending.key,
        "amount": body.amount,
        "currency": body.currency,
        "status": "blocked" if verdict.blocked else "processing",
        "fraud_score": verdict.score,
        "fraud_reasons": verdict.reasons,
        "failure_code": "fraud_blocked" if verdict.blocked else None,
        "customer": body.customer,
        "reference": body.reference,
        "description": body.description,
        "payment_method": msgspec.to_builtins(body.payment_method),
        "metadata": body.metadata or {},
        "request_id": request_id.get(),
        "fee_basis_points": principal.fee_basis_points,
        "gateway": settings.GATEWAY_NAME,
        "gateway_key": pending.gateway_key,
        "lease_token": pending.lease_token,
        "lease_seconds": lease_seconds,
    }


def settled_row(transaction_id: UUID, lease_token: UUID, answer: Answer, *, actor: str) -> dict[str, Any]:
    status = STATUS_OF_OUTCOME[answer.outcome]
    return {
        "id": transaction_id,
        "lease_token": lease_token,
        "status": status,
        "failure_code": None if status == "succeeded" else answer.code,
        "gateway_reference": answer.reference,
        "actor": actor,
        "data": journal_of(answer),
    }


def unknown_row(transaction_id: UUID, lease_token: UUID, answer: Answer) -> dict[str, Any]:
    return {
        "id": transaction_id,
        "lease_token": lease_token,
        "status": "unknown",
        "actor": "api",
        "data": journal_of(answer),
    }


def journal_of(answer: Answer) -> dict[str, Sequence[dict[str, Any]]]:
    """The raw exchange with the gateway, for the journal."""
    return {"gateway": [dict(vars(exchange)) for exchange in answer.exchanges]}
