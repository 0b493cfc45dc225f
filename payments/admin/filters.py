"""The lists' filters. A word that is not offered is refused."""

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter

from fintech.changelists import start_of_page
from payments.currencies import EXPONENTS
from payments.models import LedgerLeg, Transaction


class ChoiceFilter(DropdownFilter):
    """One field with one of a few words."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if value not in dict(self.lookup_choices):
            raise IncorrectLookupParameters
        return self.narrow(request, queryset, value)

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{self.parameter_name: value})


class StatusFilter(ChoiceFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return Transaction.Status.choices

    def narrow(self, request: HttpRequest, queryset: Any, value: str) -> QuerySet[Any]:
        return queryset.with_status(value, before=start_of_page(request, Transaction))


class CurrencyFilter(ChoiceFilter):
    title = "currency"
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in sorted(EXPONENTS)]


class AccountFilter(ChoiceFilter):
    title = "account"
    parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return LedgerLeg.Account.choices
