"""Transactions, read-only. Operations and resolutions are for users with their permission."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.views import ChangeList

from fintech.adminsite.changelists import KeysetChangeList, ReadOnlyAdmin
from fintech.adminsite.display import column, link_to, page_of, show_badge, show_code, show_json, show_time
from payments.admin.display import TRANSACTION_COLOURS, show_amount, show_failure
from payments.admin.filters import CurrencyFilter, StatusFilter, examine_payments
from payments.admin.history import history_of
from payments.admin.operations import OPERATIONS, Operation, OperationForm, left_to_refund
from payments.admin.recorded import actor_of
from payments.admin.search import transactions_of
from payments.currencies import format_amount
from payments.errors import InFlight, PaymentError
from payments.models import ArchivedPart, Merchant, Transaction
from payments.services.resolution import request_resolution
from payments.states import CHARGE


class TransactionChangeList(KeysetChangeList):
    """A list by a final status reads the journal. Where that is archived, it examines the payments instead."""

    def get_results(self, request: HttpRequest) -> None:
        if self.params.get(StatusFilter.parameter_name) not in Transaction.FINAL + CHARGE.final:
            return super().get_results(request)
        newest = ArchivedPart.objects.order_by("-last_payment").values("last_payment")[:1]
        self.queryset = self.get_queryset(request).annotate(archived_to=Subquery(newest))
        super().get_results(request)
        boundary = ArchivedPart.objects.boundary() if self._may_reach_archived() else None
        if boundary is None or (self.older is not None and self.older >= boundary):
            return None
        if self.before is not None and self.before <= boundary:
            examine_payments(request)
            return self.show_window(self.get_queryset(request), self.end_of_window())
        rows = [payment for payment in self.result_list if payment.pk >= boundary]
        return self.show_page(rows, older=boundary, looked_at=None)

    def _may_reach_archived(self) -> bool:
        """Return False if all rows of the page are newer than what is archived. Costs no query if there are rows."""
        if not self.result_list:
            return True
        archived_to = self.result_list[0].archived_to
        return archived_to is not None and (self.older is None or self.older <= archived_to)


@admin.register(Transaction)
class TransactionAdmin(ReadOnlyAdmin):
    list_display = ["id", "created", "merchant", "amount_shown", "state", "score", "refunded"]
    list_defer = ["description", "payment_method", "metadata", "fraud_reasons"]
    list_filter = [StatusFilter, CurrencyFilter, ("merchant", AutocompleteSelectFilter)]
    filter_parameters = frozenset(["status", "currency", "merchant__id__exact"])
    unindexed_filters = frozenset(["currency"])
    search_fields = ["id"]
    search_help_text = "Id or key of a transaction or refund"
    actions = ["refund", "resolve"]
    change_form_template = "payments/transaction.html"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("id", "merchant_link"),
                    ("amount_shown", "state"),
                    ("created", "settled"),
                    ("refunded", "left"),
                    ("fee_shown", "score"),
                    ("failure", "reasons"),
                    ("authentication_shown", "liability"),
                ]
            },
        ),
        (
            "Request",
            {
                "fields": [
                    ("customer", "reference"),
                    ("key", "gateway", "gateway_reference"),
                    ("request_id", "description"),
                    ("method", "details"),
                    "back",
                ]
            },
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Transaction]:
        return Transaction.objects.select_related("merchant")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TransactionChangeList

    def search(self, queryset: QuerySet[Transaction], term: str) -> QuerySet[Transaction]:
        return queryset.filter(pk__in=transactions_of(term))

    def has_refund_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "payments.refund_transaction")

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "payments.resolve_transaction")

    def _may(self, request: HttpRequest, permission: str) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(permission)

    def get_urls(self) -> list[URLPattern]:
        operate, resolve = (self.admin_site.admin_view(view) for view in (self.operation_view, self.resolve_view))
        return [
            *(
                path(f"<uuid:pk>/{it.name}/", operate, {"operation": it}, name=f"payments_transaction_{it.name}")
                for it in OPERATIONS
            ),
            path("<uuid:pk>/resolve/", resolve, name="payments_transaction_resolve"),
            *super().get_urls(),
        ]

    def row_context(self, request: HttpRequest, row: Transaction) -> dict[str, Any]:
        history = history_of(row)
        return history | {
            "operations": [
                {"title": f"{it.name.capitalize()}…", "icon": it.icon, "link": _page_of(it, row.pk)}
                for it in OPERATIONS
                if self._may(request, it.permission) and it.left(row) > 0
            ],
            "may_resolve": self.has_resolve_permission(request) and bool(history["in_flight"]),
            "resolve_link": reverse("admin:payments_transaction_resolve", args=[row.pk]),
        }

    # --- Refund, capture, void -----------------------------------------------------------------------------

    @action(description="Refund…", permissions=["refund"])
    def refund(self, request: HttpRequest, queryset: QuerySet[Transaction]) -> HttpResponse | None:
        """Refund from the list, one payment at a time, because each amount is a separate decision."""
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, "Choose exactly one transaction to refund.", messages.WARNING)
            return None
        return HttpResponseRedirect(reverse("admin:payments_transaction_refund", args=[chosen[0].pk]))

    def operation_view(self, request: HttpRequest, pk: UUID, operation: Operation) -> HttpResponse:
        if not self._may(request, operation.permission):
            raise PermissionDenied
        payment = get_object_or_404(self.get_queryset(request), pk=pk)
        left = operation.left(payment)
        if request.method == "POST":
            form = operation.form(payment, left, request.POST)
            if form.is_valid() and self._carry_out(request, payment, operation, form):
                return HttpResponseRedirect(page_of(Transaction, pk))
        elif left <= 0:
            self.message_user(request, operation.nothing_left, messages.WARNING)
            return HttpResponseRedirect(page_of(Transaction, pk))
        else:
            form = operation.form(payment, left)
        context = {
            "title": operation.name.capitalize(),
            "original": payment,
            "operation": operation,
            "amount": format_amount(payment.amount, payment.currency),
            "form": form,
            "page_link": page_of(Transaction, pk),
        }
        return self.extra_page(request, "payments/operation.html", **context)

    def _carry_out(self, request: HttpRequest, payment: Transaction, operation: Operation, form: OperationForm) -> bool:
        """Return True if the form was processed; the outcome is a message."""
        try:
            outcome = operation.carry_out(request, payment, form)
        except InFlight:
            self.message_user(request, f"This {operation.name} is already in progress.", messages.WARNING)
        except PaymentError as error:
            form.refuse(error)
            return False
        else:
            self.message_user(request, *operation.describe(outcome))
        return True

    # --- Resolve now ---------------------------------------------------------------------------------------

    @action(description="Resolve now", permissions=["resolve"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Transaction]) -> None:
        self._resolve(request, queryset.values_list("pk", flat=True)[: self.list_per_page])

    def resolve_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        if not self.has_resolve_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._resolve(request, [get_object_or_404(Transaction, pk=pk).pk])
        return HttpResponseRedirect(page_of(Transaction, pk))

    def _resolve(self, request: HttpRequest, ids: Iterable[UUID]) -> None:
        asked = request_resolution(ids, actor=actor_of(request))
        if asked:
            self.message_user(request, f"The resolver will handle {asked} at its next run.", messages.SUCCESS)
        else:
            detail = "Nothing to resolve: the transaction is final, or a process is working on it."
            self.message_user(request, detail, messages.WARNING)

    # --- Columns and fields --------------------------------------------------------------------------------

    created = column("Created (UTC)", show_time, "created_at")
    settled = column("Settled (UTC)", show_time, "settled_at")
    merchant_link = column("Merchant", lambda payment: link_to(Merchant, payment.merchant_id, payment.merchant))
    amount_shown = column("Amount", lambda payment: show_amount(payment.amount, payment.currency))
    state = column("Status", lambda payment: show_badge(payment.status, TRANSACTION_COLOURS[payment.status]))

    score = column("Fraud score", lambda score: "not scored" if score is None else f"{score:.2f}", "fraud_score")
    reasons = column("Fraud reasons", lambda payment: ", ".join(payment.fraud_reasons) or None)

    @display(description="Refunded")
    def refunded(self, payment: Transaction) -> str | None:
        return show_amount(payment.amount_refunded, payment.currency) if payment.amount_refunded else None

    @display(description="Remaining to refund")
    def left(self, payment: Transaction) -> str | None:
        left = left_to_refund(payment)
        return show_amount(left, payment.currency) if left else None

    fee_shown = column("Our fee", lambda payment: show_amount(payment.fee, payment.currency) if payment.fee else None)
    failure = column("Failure", show_failure, "failure_code")

    @display(description="Authentication (3-D Secure)")
    def authentication_shown(self, payment: Transaction) -> str | None:
        found = payment.customer_authentication if payment.return_url else None
        if found is None:
            return None
        return found.outcome or format_html("The customer has until {}.", show_time(found.expires_at))

    @display(description="Loss borne by, if it is fraud")
    def liability(self, payment: Transaction) -> str | None:
        found = payment.customer_authentication if payment.return_url else None
        return found.get_liability_shift_display() if found and found.outcome else None

    back = column("Return URL", lambda payment: show_code(payment.return_url) if payment.return_url else None)
    key = column("Idempotency key", show_code, "idempotency_key")
    method = column("Payment method", show_json, "payment_method")
    details = column("Metadata", show_json, "metadata")


def _page_of(operation: Operation, pk: UUID) -> str:
    return reverse(f"admin:payments_transaction_{operation.name}", args=[pk])
