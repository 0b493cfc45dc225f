"""The types of the gateway's events: one table.

To add a type, write a struct for its data and a function that applies it, and add both to `KINDS`, or to
`STRIPE_KINDS` if Stripe sends it. The function returns True if it changed something, and False if that was done before:
an event may come twice, and its worker may be killed after the change. It raises `NotYet` for an event that must wait
for another, and `Refused` for one that contradicts our rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings

from payments.gateway.registry import STRIPE
from payments.gateway_events.decisions import Decision, apply_decision
from payments.gateway_events.disputes import DisputeChange, apply_dispute_change
from payments.gateway_events.errors import NotYet, Refused
from payments.gateway_events.stripe import Change, apply_intent, apply_refund
from payments.gateway_events.stripe_disputes import DisputeEvent, apply_dispute
from payments.states import AUTHORIZATION, CAPTURE, CHARGE, REFUND, VOID

__all__ = ["KINDS", "STRIPE_KINDS", "Kind", "NotYet", "Refused", "kinds_of"]


@dataclass(frozen=True)
class Kind:
    """`data` is the msgspec type of the event's `data`."""

    data: type
    apply: Callable[[Any], bool]


KINDS = {
    "dispute.changed": Kind(DisputeChange, apply_dispute_change),
} | {
    f"{lifecycle.operation}.decided": Kind(
        Decision, partial(apply_decision, lifecycle.operation, gateway=settings.GATEWAY_NAME)
    )
    for lifecycle in (CHARGE, AUTHORIZATION, CAPTURE, VOID, REFUND)
}

STRIPE_KINDS = {
    "payment_intent.succeeded": Kind(Change, apply_intent),
    "payment_intent.amount_capturable_updated": Kind(Change, apply_intent),
    "payment_intent.payment_failed": Kind(Change, apply_intent),
    "payment_intent.canceled": Kind(Change, apply_intent),
    "refund.created": Kind(Change, apply_refund),
    "refund.updated": Kind(Change, apply_refund),
    "refund.failed": Kind(Change, apply_refund),
} | {
    f"charge.dispute.{change}": Kind(DisputeEvent, apply_dispute)
    for change in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
}


def kinds_of(gateway: str) -> dict[str, Kind]:
    """Return the types of events that this gateway sends."""
    return STRIPE_KINDS if gateway == STRIPE else KINDS
