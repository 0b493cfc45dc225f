"""The ledger, leg by leg."""

from django.contrib import admin
from django.db.models import QuerySet
from unfold.decorators import display

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import link_to, time_column
from payments.admin.display import show_amount
from payments.admin.filters import AccountFilter, CurrencyFilter
from payments.admin.search import transactions_of
from payments.models import LedgerLeg, Transaction


@admin.register(LedgerLeg)
class LedgerLegAdmin(ReadOnlyAdmin):
    list_display = ["id", "posted", "payment", "kind", "account_name", "debit", "credit"]
    list_select_related = ["event"]
    list_defer = ["event__data"]
    list_filter = [AccountFilter, CurrencyFilter]
    filter_parameters = unindexed_filters = frozenset(["account", "currency"])
    search_fields = ["transaction"]
    search_help_text = "Id or key of a transaction or refund"
    fields = [("id", "posted"), ("payment", "kind"), "account_name", ("debit", "credit")]

    def search(self, queryset: QuerySet[LedgerLeg], term: str) -> QuerySet[LedgerLeg]:
        return queryset.filter(transaction_id__in=transactions_of(term))

    posted = time_column("event.at", "Posted (UTC)")

    @display(description="For")
    def kind(self, leg: LedgerLeg) -> str:
        return leg.event.kind.replace("_", " ")

    @display(description="Transaction")
    def payment(self, leg: LedgerLeg) -> str:
        return link_to(Transaction, leg.transaction_id)

    @display(description="Account")
    def account_name(self, leg: LedgerLeg) -> str:
        return leg.account.replace("_", " ")

    @display(description="Debit")
    def debit(self, leg: LedgerLeg) -> str | None:
        return show_amount(leg.amount, leg.currency) if leg.amount > 0 else None

    @display(description="Credit")
    def credit(self, leg: LedgerLeg) -> str | None:
        return show_amount(-leg.amount, leg.currency) if leg.amount < 0 else None
