"""The ledger, leg by leg."""

from django.contrib import admin
from django.db.models import QuerySet

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import column, link_to, show_time
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

    posted = column("Posted (UTC)", show_time, "event.at")
    kind = column("For", lambda leg: leg.event.kind.replace("_", " "))
    payment = column("Transaction", lambda leg: link_to(Transaction, leg.transaction_id))
    account_name = column("Account", lambda leg: leg.account.replace("_", " "))
    debit = column("Debit", lambda leg: show_amount(leg.amount, leg.currency) if leg.amount > 0 else None)
    credit = column("Credit", lambda leg: show_amount(-leg.amount, leg.currency) if leg.amount < 0 else None)
