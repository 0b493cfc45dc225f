"""Filters of lists. A value that is not offered is refused."""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter
from unfold.contrib.filters.forms import DropdownForm
from unfold.widgets import UnfoldAdminSelectWidget


class QuickSelect(UnfoldAdminSelectWidget):
    """Unfold's select without a template per option, because there may be hundreds."""

    template_name = "fintech/select.html"


class QuickDropdownForm(DropdownForm):
    widget = QuickSelect(attrs=DropdownForm.widget.attrs)


class ChoiceFilter(DropdownFilter):
    """A filter of one field by one of a few values: `offered` has each with its title."""

    form_class = QuickDropdownForm
    offered: Sequence[tuple[str, str]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return self.offered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if value not in dict(self.lookup_choices):
            raise IncorrectLookupParameters
        return self.narrow(request, queryset, value)

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{self.parameter_name: value})
