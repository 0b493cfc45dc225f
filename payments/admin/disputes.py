"""Disputes, read-only, with the evidence that the merchant submitted. They are answered by the API."""

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import column, link_to, show_badge, show_code, show_time
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
    title = parameter_name = "status"
    offered = Dispute.Status.choices


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

    payment = column("Transaction", lambda dispute: link_to(Transaction, dispute.transaction_id))
    created = column("Created (UTC)", show_time, "created_at")
    due = column("Response due (UTC)", show_time, "evidence_due_at")
    settled = column("Decided (UTC)", show_time, "settled_at")
    amount_shown = column("Amount", lambda dispute: show_amount(dispute.amount, dispute.transaction.currency))
    fee_shown = column("The gateway's fee", lambda dispute: show_amount(dispute.fee, dispute.transaction.currency))
    state = column("Status", lambda dispute: show_badge(dispute.get_status_display(), COLOURS[dispute.status]))
    key = column("Gateway's id", lambda dispute: show_code(str(dispute.gateway_key)))

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
