"""Refunds, read-only. They are created on a transaction's page."""

from django.contrib import admin
from django.db.models import QuerySet
from unfold.decorators import display

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import link_to, show_badge, show_code, time_column
from payments.admin.display import OPERATION_COLOURS, show_amount
from payments.admin.search import refunds_of
from payments.models import Refund, Transaction
from payments.serializers import serialize_failure


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

    @display(description="Transaction")
    def payment(self, refund: Refund) -> str:
        return link_to(Transaction, refund.transaction_id)

    created = time_column("created_at", "Created (UTC)")
    settled = time_column("settled_at", "Settled (UTC)")

    @display(description="Amount")
    def amount_shown(self, refund: Refund) -> str:
        return show_amount(refund.amount, refund.transaction.currency)

    @display(description="Status")
    def state(self, refund: Refund) -> str:
        return show_badge(refund.status, OPERATION_COLOURS[refund.status])

    @display(description="Failure")
    def failure(self, refund: Refund) -> str | None:
        failure = serialize_failure(refund.failure_code)
        return f"{failure.code}: {failure.message}" if failure else None

    @display(description="Idempotency key")
    def key(self, refund: Refund) -> str:
        return show_code(refund.idempotency_key)
