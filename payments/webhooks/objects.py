"""The types of events, and the object of each as of its moment.

Nothing is copied: an entry of the journal names the new status, and all other values of a payment or an operation on
it are fixed once they are set. So the object can be built again at any time, equal for every delivery and every reader.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Sum
from msgspec import UNSET

from payments.models import Capture, Dispute, Event, Refund, Void, WebhookEvent, load_authentications
from payments.schemas import CaptureOutput, DisputeOutput, EventOutput, InquiryOutput, Payment, RefundOutput, VoidOutput
from payments.serializers import (
    serialize_capture,
    serialize_challenge,
    serialize_dispute,
    serialize_payment,
    serialize_refund,
    serialize_void,
)
from payments.states import (
    AUTHORIZATION,
    CHARGE,
    DISPUTE,
    HOLDING,
    INQUIRIES,
    INQUIRY_PREFIX,
    LIFECYCLES,
    REFUND,
    ChargeStatus,
    Lifecycle,
)

# The operations that are announced, and the name of their object in the types of events.
NAMES = {"charge": "payment", "capture": "capture", "void": "void", "refund": "refund", "dispute": "dispute"}
# The operations on a payment: the rows, and how they are shown. The journal refers to one as `<operation>_id`.
FOLLOWING: dict[str, tuple[Any, Any]] = {
    "capture": (Capture, serialize_capture),
    "void": (Void, serialize_void),
    "refund": (Refund, serialize_refund),
    "dispute": (Dispute, serialize_dispute),
}

Output = Payment | CaptureOutput | VoidOutput | RefundOutput | DisputeOutput | InquiryOutput

# The kinds of the journal's entries, and the types that they are announced as.
TYPES = {
    lifecycle.event_kind(status): f"{NAMES[lifecycle.operation]}.{status}"
    for lifecycle in (LIFECYCLES[operation] for operation in NAMES)
    for status in lifecycle.statuses.values
} | {f"{INQUIRY_PREFIX}{status}": f"inquiry.{status}" for status in INQUIRIES}
TEST_TYPE = "webhook_endpoint.test"
DISABLED_TYPE = "webhook_endpoint.disabled"
ALL_TYPES = [*TYPES.values(), TEST_TYPE, DISABLED_TYPE]

_encoder = msgspec.json.Encoder(uuid_format="canonical")


def serialize_events(events: Sequence[WebhookEvent]) -> list[EventOutput]:
    """Return the API's representation. Pass events with their journal's entries and transactions."""
    entries = [event.journal for event in events if event.journal]
    load_authentications([entry.transaction for entry in entries])
    objects: dict[UUID, Output] = {}
    for operation, (model, serialize) in FOLLOWING.items():
        wanted = {identifier for entry in entries if (identifier := _identifier(entry, operation))}
        rows = model.objects.select_related("transaction").in_bulk(wanted) if wanted else {}
        objects |= {identifier: serialize(row) for identifier, row in rows.items()}
    return [_serialize(event, objects) for event in events]


def _identifier(entry: Event, operation: str) -> UUID | None:
    identifier: UUID | None = getattr(entry, f"{operation}_id")
    return identifier


def encode(event: EventOutput) -> bytes:
    return _encoder.encode(event)


def _serialize(event: WebhookEvent, objects: dict[UUID, Output]) -> EventOutput:
    entry = event.journal
    if entry is None:
        return EventOutput(event.id, event.type, event.at, event.data)
    status = event.type.partition(".")[2]
    if entry.kind.startswith(INQUIRY_PREFIX):
        inquiry = {**(entry.data or {}), "transaction": entry.transaction_id, "status": status}
        return EventOutput(event.id, event.type, event.at, msgspec.convert(inquiry, InquiryOutput))
    for operation in FOLLOWING:
        if identifier := _identifier(entry, operation):
            current = objects[identifier]
            if isinstance(current, DisputeOutput):
                data: Output = _dispute_as_of(current, status, entry)
            else:
                data = _as_of(current, status, LIFECYCLES[operation])
            return EventOutput(event.id, event.type, event.at, data)
    payment = serialize_payment(entry.transaction)
    payment = msgspec.structs.replace(payment, amount_refunded=_refunded_before(entry))
    if status in HOLDING:  # captures come later
        held = msgspec.structs.replace(payment, status=status, amount_captured=0, failure=None, settled_at=None)
        return EventOutput(event.id, event.type, event.at, held)
    if status not in AUTHORIZATION.final + CHARGE.final:
        payment = msgspec.structs.replace(payment, amount_authorized=0, amount_captured=0, capture_before=None)
        asked = status == ChargeStatus.REQUIRES_ACTION
        challenge = serialize_challenge(entry.transaction.customer_authentication) if asked else UNSET
        payment = msgspec.structs.replace(payment, authentication=UNSET, next_action=challenge)
    lifecycle = AUTHORIZATION if status in AUTHORIZATION.final else CHARGE
    return EventOutput(event.id, event.type, event.at, _as_of(payment, status, lifecycle))


def _refunded_before(entry: Event) -> int:
    """Return the refunds before a payment's own entry: only captured parts are refunded before its last status."""
    payment = entry.transaction
    if not (payment.manual_capture and payment.amount_refunded and entry.kind in AUTHORIZATION.final):
        return 0
    refunds = Event.objects.filter(kind=REFUND.success, transaction=payment, pk__lt=entry.pk).values("refund_id")
    return int(Refund.objects.filter(pk__in=refunds).aggregate(total=Sum("amount", default=0))["total"])


def _dispute_as_of(current: DisputeOutput, status: str, entry: Event) -> DisputeOutput:
    """Return the dispute at an entry, which holds the due date of its time: a second round has another."""
    due = (entry.data or {}).get("evidence_due_at")
    return msgspec.structs.replace(
        current,
        status=status,
        evidence_due_at=datetime.fromisoformat(due) if due else None,
        settled_at=current.settled_at if status in DISPUTE.final else None,
    )


def _as_of(current: Output, status: str, lifecycle: Lifecycle) -> Output:
    if status in lifecycle.final:
        return msgspec.structs.replace(current, status=status)
    return msgspec.structs.replace(current, status=status, failure=None, gateway_reference=None, settled_at=None)
