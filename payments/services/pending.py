"""A payment from its validation to its answer, and its first row."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from uuid_utils.compat import uuid4, uuid7

from fintech.telemetry.logging import request_id
from payments.api_keys import Principal
from payments.fraud.rules import Verdict, score_payment
from payments.fraud.velocity import apply_exceeded, decided_columns, is_held, velocity_columns
from payments.gateway.base import Answer
from payments.gateway.keys import charge_key
from payments.gateway.routing import routes
from payments.models import APPROVED, Authentication
from payments.return_urls import check_return_host
from payments.schemas import PaymentInput
from payments.states import AUTHORIZATION, CHARGE, ChargeStatus, Lifecycle
from payments.storage.group_commit import Exceeded

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


def authentication_of(answer: Answer) -> Authentication | None:
    """Return the row that the answer was stored in, if there is one."""
    if answer.challenge is not None:
        return Authentication(url=answer.challenge.url, expires_at=answer.challenge.expires_at)
    return Authentication(**vars(answer.authentication)) if answer.authentication else None


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
