"""The record of the money that Stripe moved, for `reconcile`."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from payments.gateway.stripe.amounts import from_stripe
from payments.gateway.stripe.answers import metadata_of
from payments.gateway.stripe.disputes import StripeDispute, movements
from payments.gateway.stripe.requests import DISPUTES, INTENTS, REFUNDS, captures_of

Records = Callable[[dict[str, Any]], Iterator[dict[str, Any]]]


def payment_records(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the money that a PaymentIntent moved: its charge, or its captures."""
    metadata = metadata_of(item)
    left = item["amount_received"]
    for key, amount in captures_of(metadata):
        if left >= amount:
            left -= amount
            yield _record(item, "capture", str(key), amount)
    if left:  # also money that nothing of ours asked for, so that it is reported
        yield _record(item, "charge", metadata.get("key", item["id"]), left) | {"charge": None}


def refund_records(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if item["status"] in ("succeeded", "pending"):
        metadata = metadata_of(item)
        record = _record(item, "refund", metadata.get("key", item["id"]), item["amount"])
        yield record | {"charge": metadata.get("charge", item["payment_intent"])}


def dispute_records(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a dispute, whose PaymentIntent is expanded, took and gave back."""
    dispute = msgspec.convert(item, StripeDispute)
    for kind, amount in movements(dispute):
        charge = str(dispute.charge or (dispute.payment_intent and dispute.payment_intent.id) or dispute.id)
        yield _record(item, kind, str(dispute.key), 0) | {"charge": charge, "amount": amount}


def _record(item: dict[str, Any], kind: str, key: str, amount: int) -> dict[str, Any]:
    currency = item["currency"].upper()
    return {
        "kind": kind,
        "key": key,
        "charge": metadata_of(item).get("key"),
        "amount": from_stripe(amount, currency),
        "currency": currency,
        "reference": item["id"],
        "at": datetime.fromtimestamp(item["created"], UTC).isoformat(),
    }


# The lists of what moved money -> the records in an item of each.
RECORDS: dict[str, Records] = {INTENTS: payment_records, REFUNDS: refund_records, DISPUTES: dispute_records}
