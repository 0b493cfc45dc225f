"""Rows whose changes the database records, and the read-only record of their changes."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from fintech.adminsite.changelists import KeptAdmin, ReadOnlyAdmin
from fintech.adminsite.display import column, show_json, show_time
from payments.currencies import EXPONENTS
from payments.fraud.settings import recorded_by


def actor_of(request: HttpRequest) -> str:
    return f"admin:{request.user.get_username()}"


def clean_currency(text: str | None) -> str | None:
    """Return a currency in capitals, or None for an empty field. Raises ValidationError."""
    currency = (text or "").upper()
    if currency and currency not in EXPONENTS:
        raise forms.ValidationError(f"{currency} is not an ISO 4217 currency.")
    return currency or None


class RecordedAdmin(KeptAdmin):
    """Rows of merchants that can be deleted, each change of which the database records with its user."""

    list_select_related = ["merchant"]
    list_filter: Sequence[Any] = [("merchant", AutocompleteSelectFilter)]
    filter_parameters = frozenset(["merchant__id__exact"])
    list_per_page = 50
    autocomplete_fields = ["merchant"]

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return ModelAdmin.has_delete_permission(self, request, obj)

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        with recorded_by(actor_of(request)):
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        with recorded_by(actor_of(request)):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with recorded_by(actor_of(request)):
            super().delete_queryset(request, queryset)


class ChangeAdmin(ReadOnlyAdmin):
    """Changes as triggers recorded them, with the row before and after."""

    changed = column("Changed (UTC)", show_time, "at")
    before_shown = column("Before", lambda change: show_json(change.before) if change.before is not None else "-")
    after_shown = column("After", lambda change: show_json(change.after) if change.after is not None else "-")
