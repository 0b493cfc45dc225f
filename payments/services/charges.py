"""One payment: score, store (T1), charge, settle (T2), in this order."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from django.conf import settings
from uuid_utils.compat import uuid4, uuid7

from fintech.database.connections import query, release
from fintech.errors import DATABASE_ERRORS
from fintech.telemetry import tracing
from fintech.telemetry.logging import request_id
from payments import metrics
from payments.api_keys import Principal
from payments.failures import REFUSED_FOR
from payments.fraud import Verdict, count_verdict, score_payment
from payments.gateway.base import Answer
from payments.gateway.keys import charge_key
from payments.gateway.registry import gateways
from payments.gateway.routing import routes
from payments.models import APPROVED, Authentication, Transaction
from payments.return_urls import check_return_host
from payments.schemas import PaymentInput
from payments.services.failover import may_fail_over, move_payment
from payments.services.idempotency import replay_payment
from payments.services.refused_retries import find_forbidden, note_declines
from payments.services.results import PaymentData, Result
from payments.states import AUTHORIZATION, CHARGE, UNMOVED, ChargeStatus, Lifecycle
from payments.storage.group_commit import Exceeded, writer
from payments.storage.payment_sql import Part
from payments.velocity import apply_exceeded, decided_columns, is_held, velocity_columns

logger = logging.getLogger("payments")

NOT_STORED = datetime.min


@dataclass(slots=True)
class Pending:
    """A payment from its validation to its answer: a `PaymentData` that is not read back from its row."""

    id: UUID
    lease_token: UUID
    idempotency_key: str
    gateway_key: UUID
    gateways: tuple[str, ...]  # the one that is asked, and those that follow if it charged nothing
    fee_basis_points: int
    merchant_id: int
    body: PaymentInput
    verdict: Verdict
    status: str
    failure_code: str | None = None
    gateway_reference: str | None = None
    settled_at: datetime | None = None
    capture_before: datetime | None = None
    customer_authentication: Authentication | None = None
    created_at: datetime = NOT_STORED
    # The columns of velocity rules; None if the merchant has none.
    velocity: dict[str, Any] | None = None
    refuse_forbidden_retries: bool = False

    @classmethod
    def create(cls, principal: Principal, key: str, body: PaymentInput) -> "Pending":
        """Score the payment. Raises InvalidRequest for a return_url that the merchant does not list."""
        if body.return_url is not None:
            check_return_host(body.return_url, principal.return_hosts)
        verdict = score_payment(body, principal.fraud)
        pending = cls(
            id=uuid7(),
            lease_token=uuid4(),
            idempotency_key=key,
            gateway_key=charge_key(principal.gateway_namespace, key),
            gateways=routes.choose(principal.merchant_id, body.currency, principal.routes),
            fee_basis_points=principal.fee_basis_points,
            merchant_id=principal.merchant_id,
            body=body,
            verdict=verdict,
            status=ChargeStatus.PROCESSING,
            refuse_forbidden_retries=principal.refuse_forbidden_retries,
        )
        if principal.fraud.velocity:
            pending.velocity = velocity_columns(body, verdict, principal.fraud)
        pending._apply_verdict()
        return pending

    def _apply_verdict(self) -> None:
        columns = decided_columns(self.body, self.verdict)
        self.status, self.failure_code = columns["status"], columns.get("failure_code")

    def mark_stored(self, at: datetime, exceeded: Exceeded | None = None) -> None:
        if exceeded is not None:
            self.verdict = apply_exceeded(self.verdict, exceeded.reasons, exceeded.outcome)
            self._apply_verdict()
        self.created_at = at
        if self.is_final:
            self.settled_at = at

    def settle(self, answer: Answer, at: datetime) -> None:
        self.status = self.lifecycle.outcomes[answer.outcome]
        self.failure_code, self.gateway_reference = answer.failure_code, answer.reference
        self.customer_authentication = authentication_of(answer)
        if self.status == ChargeStatus.REQUIRES_ACTION:
            return
        if self.status == ChargeStatus.AUTHORIZED:
            self.status = ChargeStatus.IN_REVIEW if self.verdict.review else self.status
            self.capture_before = at + timedelta(seconds=settings.AUTHORIZATION_HOLD_SECONDS)
        else:
            self.settled_at = at

    @property
    def is_held(self) -> bool:
        return is_held(self.body, self.verdict)

    @property
    def lifecycle(self) -> Lifecycle:
        return AUTHORIZATION if self.is_held else CHARGE

    @property
    def is_final(self) -> bool:
        return self.status in CHARGE.final

    @property
    def amount(self) -> int:
        return self.body.amount

    @property
    def amount_authorized(self) -> int:
        return self.body.amount if self.status in APPROVED else 0

    @property
    def amount_captured(self) -> int:
        return self.body.amount if self.status == ChargeStatus.SUCCEEDED else 0

    @property
    def amount_refunded(self) -> int:
        return 0

    @property
    def currency(self) -> str:
        return self.body.currency

    @property
    def fraud_score(self) -> float | None:
        return self.verdict.score

    @property
    def fraud_reasons(self) -> list[str]:
        return self.verdict.reasons

    @property
    def customer(self) -> str | None:
        return self.body.customer

    @property
    def reference(self) -> str | None:
        return self.body.reference

    @property
    def return_url(self) -> str | None:
        return self.body.return_url

    @property
    def description(self) -> str | None:
        return self.body.description

    @property
    def metadata(self) -> dict[str, str]:
        return self.body.metadata or {}


def create_payment(*, principal: Principal, key: str, body: PaymentInput) -> Result:
    """Carry out one payment, or replay it if `key` was used before.

    Raises PaymentError for an error of the client, and a database error only before anything was charged.
    """
    with metrics.IN_PROGRESS.track_inprogress():
        if principal.refuse_forbidden_retries:
            (refusal,) = query(find_forbidden, principal.merchant_id, [(key, body)])
            if refusal:
                raise refusal
        with tracing.step("fraud"):
            pending = Pending.create(principal, key, body)
        if not store([pending], settings.LEASE_SECONDS):
            return query(replay_payment, principal.merchant_id, key, body)
        if pending.is_final:
            return Result(pending)
        release()  # the gateway may take seconds
        answer = charge(pending)
        (payment,) = settle_payments([(pending, answer)])
        return Result(payment, gateway_seconds=answer.seconds)


def store(pendings: list[Pending], lease_seconds: float) -> list[Pending]:
    """Store payments of one merchant (T1). Returns the new ones; the keys of the others belong to earlier requests."""
    rows = [stored_row(pending, lease_seconds) for pending in pendings]
    exceeded: dict[UUID, Exceeded] = {}
    with tracing.step("T1", tracing.DATABASE, kind="client"):
        if pendings and pendings[0].velocity is not None:
            times, exceeded = writer.store_watched(rows)
        else:
            times = writer.write(Part.CREATED, rows)
    stored = [pending for pending in pendings if pending.id in times]
    metrics.RESULT["new"].inc(len(stored))
    for pending in stored:
        pending.mark_stored(times[pending.id], exceeded.get(pending.id))
        count_verdict(pending.verdict)
    return stored


def charge(pending: Pending) -> Answer:
    """Ask the payment's gateway, and the next one only if it is known that nothing was charged."""
    answer = _ask(pending)
    while len(pending.gateways) > 1 and may_fail_over(answer):
        former, *others = pending.gateways
        moved = query(_move, pending, former, others[0], answer)
        release()
        if not moved:
            break
        pending.gateways = tuple(others)
        seconds, answer = answer.seconds, _ask(pending)
        answer.seconds += seconds
    return answer


def _move(pending: Pending, former: str, gateway: str, answer: Answer) -> bool:
    return move_payment(pending.id, pending.lease_token, gateway=gateway, former=former, answer=answer)


def _ask(pending: Pending) -> Answer:
    gateway = gateways.get(pending.gateways[0])
    ask = gateway.authorize if pending.is_held else gateway.charge
    return ask(
        pending.gateway_key,
        amount=pending.body.amount,
        currency=pending.body.currency,
        payment_method=pending.body.payment_method,
        return_url=pending.body.return_url,
    )


def settle_payments(answered: Sequence[tuple[Pending, Answer]]) -> list[PaymentData]:
    """Store the gateway's answers (T2). After a charge no error is raised: at worst the payment is unknown."""
    known: dict[Part, list[dict[str, Any]]] = {}
    for pending, answer in answered:
        if answer.is_known:
            part, row = outcome_row(pending.lifecycle, pending.id, pending.lease_token, answer, actor="api")
            known.setdefault(part, []).append(row)
    unknown = [
        unknown_row(pending.id, pending.lease_token, answer) for pending, answer in answered if not answer.is_known
    ]
    if unknown or any(row["status"] == "failed" for rows in known.values() for row in rows):
        tracing.keep()
    settled: dict[UUID, datetime] = {}
    try:
        with tracing.step("T2", tracing.DATABASE, kind="client"):
            for part, rows in known.items():
                settled |= writer.write(part, rows)
            if unknown:
                writer.write(Part.UNKNOWN, unknown)
    except Exception as error:
        trace = None if isinstance(error, psycopg.Error) else error
        extra = {"payments": len(answered), "error": type(error).__name__}
        logger.warning("settle_failed", exc_info=trace, extra=extra)
        tracing.keep()
    forbidden = [
        pending.id
        for pending, answer in answered
        if pending.refuse_forbidden_retries and answer.failure_code in REFUSED_FOR
    ]
    if forbidden:
        query(note_declines, forbidden)
    late = {pending.id: answer for pending, answer in answered if answer.is_known and pending.id not in settled}
    stored = _find(list(late))
    for transaction_id, payment in stored.items():
        note_contradiction(payment, late[transaction_id])
    return [
        stored.get(pending.id) or _settled(pending, answer, settled.get(pending.id)) for pending, answer in answered
    ]


def _find(ids: Sequence[UUID]) -> dict[UUID, Transaction]:
    """Read back payments that another process settled, or whose commit may have failed."""
    try:
        return query(Transaction.objects.in_bulk, ids) if ids else {}
    except DATABASE_ERRORS:
        return {}


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


def _settled(pending: Pending, answer: Answer, at: datetime | None) -> Pending:
    if at is None:
        pending.status = ChargeStatus.UNKNOWN
    else:
        pending.settle(answer, at)
    return pending


def authentication_of(answer: Answer) -> Authentication | None:
    """Return the row that the answer was stored in, if there is one."""
    if answer.challenge is not None:
        return Authentication(url=answer.challenge.url, expires_at=answer.challenge.expires_at)
    return Authentication(**vars(answer.authentication)) if answer.authentication else None


# --- Rows for the statements -------------------------------------------------------------------------------


def stored_row(pending: Pending, lease_seconds: float) -> dict[str, Any]:
    body = pending.body
    row = {
        "id": pending.id,
        "merchant_id": pending.merchant_id,
        "key": pending.idempotency_key,
        "amount": body.amount,
        "currency": body.currency,
        "fraud_score": pending.verdict.score,
        "fraud_reasons": pending.verdict.reasons,
        "customer": body.customer,
        "reference": body.reference,
        "description": body.description,
        "payment_method": msgspec.to_builtins(body.payment_method),
        "metadata": body.metadata or {},
        "request_id": request_id.get(),
        "fee_basis_points": pending.fee_basis_points,
        "gateway": pending.gateways[0],
        "gateway_key": pending.gateway_key,
        "lease_token": pending.lease_token,
        "lease_seconds": lease_seconds,
    }
    row |= pending.velocity if pending.velocity is not None else decided_columns(body, pending.verdict)
    if body.return_url is not None:
        row["return_url"] = body.return_url
    return row


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
