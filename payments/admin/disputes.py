"""Disputes, read-only, with the evidence that the merchant submitted. They are answered by the API."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import link_to, show_badge, show_code, show_time, time_column
from fintech.adminsite.filters import ChoiceFilter
from payments.admin.display import show_amount
from payments.admin.search import read_ids, transactions_of
from payments.models import Dispute, DisputeResponse, Transaction

COLOURS = {
    "opened": "info",
    "needs_response": "warning",
    "under_review": "info",
    "pre_arbitration": "warning",
    "final_review": "info",
    "won": "success",
    "lost": "danger",
}


class StateFilter(ChoiceFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return Dispute.Status.choices


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    list_display = ["created", "payment", "amount_shown", "state", "reason", "due"]
    list_select_related = ["transaction"]
    list_filter = [StateFilter]
    filter_parameters = frozenset({"status"})
    search_fields = ["id"]
    search_help_text = "Id of the dispute, or id or key of its transaction"
    fields = [
        ("id", "payment"),
        ("amount_shown", "fee_shown"),
        ("state", "reason"),
        ("created", "due"),
        ("settled", "key"),
        "evidence",
    ]

    def search(self, queryset: QuerySet[Dispute], term: str) -> QuerySet[Dispute]:
        return queryset.filter(Q(pk__in=read_ids(term)) | Q(transaction_id__in=transactions_of(term)))

    @display(description="Transaction")
    def payment(self, dispute: Dispute) -> str:
        return link_to(Transaction, dispute.transaction_id)

    created = time_column("created_at", "Created (UTC)")
    due = time_column("evidence_due_at", "Response due (UTC)")
    settled = time_column("settled_at", "Decided (UTC)")

    @display(description="Amount")
    def amount_shown(self, dispute: Dispute) -> str:
        return show_amount(dispute.amount, dispute.transaction.currency)

    @display(description="The gateway's fee")
    def fee_shown(self, dispute: Dispute) -> str:
        return show_amount(dispute.fee, dispute.transaction.currency)

    @display(description="Status")
    def state(self, dispute: Dispute) -> str:
        return show_badge(dispute.get_status_display(), COLOURS[dispute.status])

    @display(description="Gateway's id")
    def key(self, dispute: Dispute) -> str:
        return show_code(str(dispute.gateway_key))

    @display(description="Responses")
    def evidence(self, dispute: Dispute) -> str:
        responses = dispute.responses.order_by("round")
        return format_html_join("", "{}", ((show_response(response),) for response in responses)) or "None"


def show_response(response: DisputeResponse) -> SafeString:
    """Return one response: its text, and name, size and SHA-256 of each file."""
    files = format_html_join(
        "",
        "<li>{}, {} bytes, SHA-256 {}</li>",
        ((file["name"], file["size"], file["sha256"]) for file in response.files),
    )
    at = response.delivered_at
    outcome = response.outcome or "answered"
    state = format_html("{} by the gateway {}", outcome, show_time(at)) if at else "on its way"
    return format_html(
        "<p><b>Round {}: {}</b>, {} by {}; {}</p><p>{}</p><ul>{}</ul>",
        response.round,
        response.kind,
        show_time(response.created_at),
        response.actor,
        state,
        response.text,
        files,
    )
