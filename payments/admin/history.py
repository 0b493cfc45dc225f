"""Everything about one transaction: its journal, open operations, refunds and ledger legs, and its archives."""

from dataclasses import dataclass
from typing import Any

from django.db.models import F, Sum
from django.db.models.functions import Now

from fintech.adminsite.display import page_of, pretty, show_time
from payments.admin.display import OPERATION_COLOURS, TRANSACTION_COLOURS
from payments.currencies import format_amount
from payments.models import Archive, Event, LedgerLeg, Refund, Transaction, Unresolved
from payments.states import CHARGE

# The newest of each kind on one page, because a payment may be refunded cent by cent.
MAX_SHOWN = 200


@dataclass
class Entry:
    """An event of the journal. `exchanges` are the attempts at the gateway, `raw` is their stored form."""

    title: str
    colour: str
    at: str
    actor: str
    refund_link: str | None
    exchanges: list[dict[str, Any]]
    raw: str | None


def history_of(payment: Transaction) -> dict[str, Any]:
    """Return the context of the page's sections."""
    return {
        "journal": [_entry(event) for event in _newest(Event.objects.filter(transaction=payment))],
        "refunds": [_refund(refund, payment) for refund in _newest(Refund.objects.filter(transaction=payment))],
        "legs": [_leg(leg) for leg in _newest(LedgerLeg.objects.filter(transaction=payment).select_related("event"))],
        "sums": _sums(payment),
        "in_flight": [_work(work) for work in _in_flight(payment)],
        "archives": Archive.objects.holding(payment.pk).values_list("file_name", flat=True),
        "most_shown": MAX_SHOWN,
    }


def _newest(rows: Any) -> list[Any]:
    """Return the newest rows, oldest first."""
    return list(rows.order_by("-pk")[:MAX_SHOWN])[::-1]


def _entry(event: Event) -> Entry:
    kind = event.kind
    operation, _, status = kind.rpartition("_")
    colours = OPERATION_COLOURS if operation else TRANSACTION_COLOURS
    exchanges = event.data.get("gateway") if isinstance(event.data, dict) else None
    known = [exchange for exchange in exchanges or () if isinstance(exchange, dict)]
    return Entry(
        title=kind.replace("_", " "),
        colour=TRANSACTION_COLOURS.get(kind) or colours.get(status, "default"),
        at=show_time(event.at),
        actor=event.actor,
        refund_link=page_of(Refund, event.refund_id) if event.refund_id else None,
        exchanges=known,
        raw=pretty(event.data) if event.data else None,
    )


def _refund(refund: Refund, payment: Transaction) -> dict[str, Any]:
    return {
        "link": page_of(Refund, refund.pk),
        "id": refund.pk,
        "amount": format_amount(refund.amount, payment.currency),
        "status": refund.status,
        "colour": OPERATION_COLOURS[refund.status],
        "created": show_time(refund.created_at),
        "reason": refund.reason,
        "failure": refund.failure_code,
    }


def _leg(leg: LedgerLeg) -> dict[str, Any]:
    shown = format_amount(abs(leg.amount), leg.currency)
    return {
        "at": show_time(leg.event.at),
        "kind": leg.event.kind.replace("_", " "),
        "account": leg.get_account_display(),
        "debit": shown if leg.amount > 0 else "",
        "credit": shown if leg.amount < 0 else "",
    }


def _sums(payment: Transaction) -> list[dict[str, Any]]:
    """Return the sum of all legs per currency, also of those that are not shown. It is zero in a correct ledger."""
    sums = LedgerLeg.objects.filter(transaction=payment).order_by("currency").values("currency")
    return [
        {"total": format_amount(row["total"], row["currency"]), "is_zero": row["total"] == 0}
        for row in sums.annotate(total=Sum("amount"))
    ]


def _in_flight(payment: Transaction) -> Any:
    """Return its open operations."""
    held = Unresolved.objects.filter(transaction_id=payment.pk).annotate(now=Now())
    return held.annotate(left=F("lease_until") - F("now")).order_by("created_at")[:MAX_SHOWN]


def _work(work: Any) -> dict[str, Any]:
    seconds = max(0, round(work.left.total_seconds()))
    if work.lease_token is not None and seconds:
        state = f"A process is working on it; its lease ends in {seconds} s."
    elif seconds:
        state = f"The resolver tries again in {seconds} s."
    else:
        state = "The resolver handles it at its next run."
    return {
        "what": "Payment" if work.operation == CHARGE.operation else work.operation.capitalize(),
        "link": page_of(Refund, work.refund_id) if work.refund_id else None,
        "id": work.resource_id,
        "since": show_time(work.created_at),
        "attempts": work.attempts,
        "state": state,
    }
