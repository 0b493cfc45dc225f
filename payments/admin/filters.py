"""Filters of the lists."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from fintech.adminsite.changelists import start_of_page
from fintech.adminsite.filters import ChoiceFilter
from payments.currencies import EXPONENTS
from payments.models import LedgerLeg, Transaction

_EXAMINES = "examines_payments"


class StatusFilter(ChoiceFilter):
    title = parameter_name = "status"
    offered = Transaction.Status.choices

    def narrow(self, request: HttpRequest, queryset: Any, value: str) -> QuerySet[Any]:
        before = start_of_page(request, Transaction)
        return queryset.with_status(value, before=before, is_archived=hasattr(request, _EXAMINES))


def examine_payments(request: HttpRequest) -> None:
    """Let the filter by status of this request read the payments, not their journal."""
    setattr(request, _EXAMINES, True)


class CurrencyFilter(ChoiceFilter):
    title = parameter_name = "currency"
    offered = [(code, code) for code in sorted(EXPONENTS)]


class AccountFilter(ChoiceFilter):
    title = parameter_name = "account"
    offered = LedgerLeg.Account.choices
