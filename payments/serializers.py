"""Build the API's representation of payments and the operations that follow them."""

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from payments import schemas
from payments.failures import FAILURES, OTHER_MESSAGE
from payments.fraud.rules import RULES, MerchantContext, Verdict, get_weight
from payments.models import (
    Authentication,
    Capture,
    Dispute,
    Event,
    FollowingOperation,
    Refund,
    Review,
    Void,
    WebhookDelivery,
    WebhookEndpoint,
)
from payments.services.results import PaymentData
from payments.states import ChargeStatus

PaymentShape = TypeVar("PaymentShape", bound=schemas.Payment)


def serialize_failure(code: str | None) -> schemas.Failure | None:
    return schemas.Failure(code, *FAILURES.get(code, (OTHER_MESSAGE, None))) if code else None


def serialize_trial(verdict: Verdict, merchant: MerchantContext) -> schemas.FraudTrial:
    rules = [] if verdict.score is None else [name for name in verdict.reasons if name in RULES]
    return schemas.FraudTrial(
        decision="blocked" if verdict.blocked else "review" if verdict.review else "accepted",
        decided_by=verdict.decided_by,
        score=verdict.score,
        threshold=merchant.fraud_threshold,
        reasons=verdict.reasons,
        weights={name: get_weight(name, merchant) for name in rules},
        review_threshold=UNSET if merchant.review_threshold is None else merchant.review_threshold,
    )


def serialize_payment(row: PaymentData) -> schemas.Payment:
    return _payment(schemas.Payment, row)


def serialize_expanded(row: PaymentData, lists: dict[str, Any]) -> schemas.ExpandedPayment:
    return _payment(schemas.ExpandedPayment, row, lists)


def _payment(shape: type[PaymentShape], row: PaymentData, lists: dict[str, Any] | None = None) -> PaymentShape:
    return shape(
        id=row.id,
        status=row.status,  # type: ignore[arg-type]
        amount=row.amount,
        amount_authorized=row.amount_authorized,
        amount_captured=row.amount_captured,
        amount_refunded=row.amount_refunded,
        currency=row.currency,
        fraud=schemas.Fraud(row.fraud_score, row.fraud_reasons),
        failure=serialize_failure(row.failure_code),
        # As in the events of that moment: the gateway has decided nothing yet.
        gateway_reference=None if row.status == ChargeStatus.REQUIRES_ACTION else row.gateway_reference,
        customer=row.customer,
        reference=row.reference,
        description=row.description,
        metadata=row.metadata,
        created_at=row.created_at,
        settled_at=row.settled_at,
        capture_before=row.capture_before,
        **({} if row.return_url is None else _authentication_fields(row.customer_authentication)),
        **(lists or {}),
    )


def serialize_challenge(found: Authentication | None) -> schemas.NextAction | UnsetType:
    """Return what the customer was asked to do, also if that has ended."""
    if found is None or found.url is None:
        return UNSET
    return schemas.NextAction("redirect", found.url, found.expires_at)  # type: ignore[arg-type]  # both are set together


def _authentication_fields(found: Authentication | None) -> dict[str, Any]:
    """Return what the customer must do, or the result of its authentication."""
    if found is None:
        return {}
    if found.outcome is None:
        return {"next_action": serialize_challenge(found)}
    return {"authentication": schemas.Authentication(found.outcome, found.liability_shift)}  # type: ignore[arg-type]


def _common_fields(row: FollowingOperation) -> dict[str, Any]:
    return {
        "id": row.id,
        "transaction": row.transaction.id,
        "status": row.status,
        "amount": row.amount,
        "currency": row.transaction.currency,
        "failure": serialize_failure(row.failure_code),
        "gateway_reference": row.gateway_reference,
        "created_at": row.created_at,
        "settled_at": row.settled_at,
    }


def serialize_capture(row: Capture) -> schemas.CaptureOutput:
    return schemas.CaptureOutput(**_common_fields(row), final=row.final)


def serialize_void(row: Void) -> schemas.VoidOutput:
    return schemas.VoidOutput(**_common_fields(row), reason=row.reason)


def serialize_review(row: Review) -> schemas.ReviewOutput:
    operation = row.operation
    return schemas.ReviewOutput(
        id=row.id,
        transaction=row.transaction_id,
        decision=row.decision,  # type: ignore[arg-type]
        status=row.status,  # type: ignore[arg-type]
        reason=row.reason,
        failure=serialize_failure(row.failure_code),
        created_at=row.created_at,
        settled_at=operation.settled_at if operation else row.created_at,
    )


def serialize_refund(row: Refund) -> schemas.RefundOutput:
    return schemas.RefundOutput(**_common_fields(row), reason=row.reason)


def serialize_entry(row: Event) -> schemas.JournalEntry:
    return schemas.JournalEntry(
        id=row.pk,
        type=row.kind,
        at=row.at,
        actor=row.actor.partition(":")[0],  # a merchant need not know the operator's name
        capture=row.capture_id,
        void=row.void_id,
        refund=row.refund_id,
        dispute=row.dispute_id,
    )


def serialize_dispute(row: Dispute) -> schemas.DisputeOutput:
    return schemas.DisputeOutput(
        id=row.id,
        transaction=row.transaction_id,
        status=row.status,  # type: ignore[arg-type]
        amount=row.amount,
        currency=row.transaction.currency,
        fee=row.fee,
        reason=row.reason,
        evidence_due_at=row.evidence_due_at,
        created_at=row.created_at,
        settled_at=row.settled_at,
    )


def serialize_dispute_detail(row: Dispute) -> schemas.DisputeDetail:
    responses = [
        schemas.DisputeResponseOutput(
            kind=response.kind,  # type: ignore[arg-type]
            text=response.text,
            files=[schemas.EvidenceFile(**file) for file in response.files],
            submitted_at=response.created_at,
            delivered_at=response.delivered_at,
            outcome=response.outcome,  # type: ignore[arg-type]
            failure=serialize_failure(response.failure_code),
        )
        for response in row.responses.all()
    ]
    return schemas.DisputeDetail(**msgspec.structs.asdict(serialize_dispute(row)), responses=responses)


def serialize_endpoint(row: WebhookEndpoint) -> schemas.EndpointOutput:
    return schemas.EndpointOutput(
        id=row.id,
        url=row.url,
        event_types=row.event_types,
        description=row.description,
        enabled=row.is_enabled,
        disabled_because=row.disabled_because,
        failing_since=row.failing_since,
        retry_at=row.retry_at,
        created_at=row.created_at,
    )


def serialize_new_endpoint(row: WebhookEndpoint, secret: str) -> schemas.EndpointWithSecret:
    return schemas.EndpointWithSecret(**msgspec.structs.asdict(serialize_endpoint(row)), secret=secret)


def serialize_delivery(row: WebhookDelivery) -> schemas.DeliveryOutput:
    return schemas.DeliveryOutput(
        event=row.event_id,
        type=row.event.type,
        status=row.status,  # type: ignore[arg-type]
        due_at=row.due_at if row.status == WebhookDelivery.Status.PENDING else None,
        delivered_at=row.delivered_at,
        attempts=[
            schemas.AttemptOutput(
                attempt.at, attempt.outcome, attempt.status_code, attempt.milliseconds, attempt.answer
            )
            for attempt in row.attempts.all()
        ],
    )
