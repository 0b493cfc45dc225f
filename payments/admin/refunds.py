"""Refunds, read-only. They are created on a transaction's page."""

from django.contrib import admin
from django.db.models import QuerySet

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import column, link_to, show_badge, show_code, show_time
from payments.admin.display import OPERATION_COLOURS, show_amount, show_failure
from payments.admin.search import refunds_of
from payments.models import Refund, Transaction


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ["id", "created", "payment", "amount_shown", "state", "reason"]
    list_select_related = ["transaction"]
    search_fields = ["id"]
    search_help_text = "Id or key of the refund or its transaction"
    fields = [
        ("id", "payment"),
        ("amount_shown", "state"),
        ("created", "settled"),
        ("reason", "failure"),
        ("key", "gateway_reference"),
        "request_id",
    ]

    def search(self, queryset: QuerySet[Refund], term: str) -> QuerySet[Refund]:
        return queryset.filter(pk__in=refunds_of(term))

    payment = column("Transaction", lambda refund: link_to(Transaction, refund.transaction_id))
    created = column("Created (UTC)", show_time, "created_at")
    settled = column("Settled (UTC)", show_time, "settled_at")
    amount_shown = column("Amount", lambda refund: show_amount(refund.amount, refund.transaction.currency))
    state = column("Status", lambda refund: show_badge(refund.status, OPERATION_COLOURS[refund.status]))
    failure = column("Failure", show_failure, "failure_code")
    key = column("Idempotency key", show_code, "idempotency_key")
