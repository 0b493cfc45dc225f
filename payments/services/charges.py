"""One payment: score, store (T1), charge, settle (T2), in this order."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from fintech.database.connections import query, release
from fintech.errors import DATABASE_ERRORS
from fintech.telemetry import tracing
from payments import metrics
from payments.api_keys import Principal
from payments.errors import InvalidRequest
from payments.failures import REFUSED_FOR
from payments.fraud.rules import count_verdicts
from payments.gateway.base import Answer
from payments.gateway.registry import gateways
from payments.models import Transaction
from payments.schemas import PaymentInput
from payments.services.failover import may_fail_over, move_payment
from payments.services.idempotency import replay_payment, used_keys
from payments.services.outcomes import note_contradiction, outcome_row, unknown_row
from payments.services.pending import Pending, stored_row
from payments.services.refused_retries import find_forbidden, note_declines
from payments.services.results import PaymentData, Result
from payments.states import ChargeStatus
from payments.storage.group_commit import Exceeded, writer
from payments.storage.payment_sql import Part

logger = logging.getLogger("payments")


def create_payment(*, principal: Principal, key: str, body: PaymentInput) -> Result:
    """Carry out one payment, or replay it if `key` was used before.

    Raises PaymentError for an error of the client, and a database error only before anything was charged.
    """
    with metrics.IN_PROGRESS.track_inprogress():
        if principal.refuse_forbidden_retries:
            (refusal,) = query(find_forbidden, principal.merchant_id, [(key, body)])
            if refusal:
                raise refusal
        try:
            with tracing.step("fraud"):
                pending = Pending.create(principal, key, body)
        except InvalidRequest:
            # What is allowed may have changed since the first request, which may have charged.
            if query(used_keys, principal.merchant_id, [key]):
                return query(replay_payment, principal.merchant_id, key, body)
            raise
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
    stored = []
    for pending in pendings:
        if at := times.get(pending.id):
            pending.mark_stored(at, exceeded.get(pending.id))
            stored.append(pending)
    count_verdicts([pending.verdict for pending in stored])
    metrics.RESULT["new"].inc(len(stored))
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
    settled = _store_answers(answered)
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


def _store_answers(answered: Sequence[tuple[Pending, Answer]]) -> dict[UUID, datetime]:
    """Return the payments whose outcome is stored now, with its time. An error is logged, and leaves the rest out."""
    known: dict[Part, list[dict[str, Any]]] = {}
    unknown: list[dict[str, Any]] = []
    for pending, answer in answered:
        if answer.is_known:
            part, row = outcome_row(pending.lifecycle, pending.id, pending.lease_token, answer, actor="api")
            known.setdefault(part, []).append(row)
            if row["status"] == "failed":
                tracing.keep()
        else:
            unknown.append(unknown_row(pending.id, pending.lease_token, answer))
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
    return settled


def _find(ids: Sequence[UUID]) -> dict[UUID, Transaction]:
    """Read back payments that another process settled, or whose commit may have failed."""
    try:
        return query(Transaction.objects.in_bulk, ids) if ids else {}
    except DATABASE_ERRORS:
        return {}


def _settled(pending: Pending, answer: Answer, at: datetime | None) -> Pending:
    if at is None:
        pending.status = ChargeStatus.UNKNOWN
    else:
        pending.settle(answer, at)
    return pending
