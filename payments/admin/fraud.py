"""Allow and block lists, velocity rules, and the read-only record of all changes."""

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from fintech.adminsite.display import column, link_to, show_badge, show_time
from fintech.adminsite.filters import ChoiceFilter
from payments.admin.recorded import ChangeAdmin, RecordedAdmin, clean_currency
from payments.errors import InvalidRequest
from payments.fraud.settings import MAX_ENTRIES, MAX_RULES, check_entry, has_all_rules, is_full
from payments.models import FraudChange, FraudListEntry, Merchant, VelocityRule

LIST_COLOURS = {"block": "danger", "allow": "success"}
OUTCOME_COLOURS = {"block": "danger", "review": "primary"}
# What the counters of a velocity rule depend on.
COUNTED = ("merchant", "field", "measure", "currency", "window_seconds")


class EntryForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none at run time
    class Meta:
        model = FraudListEntry
        fields = ["merchant", "list", "field", "value", "note"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if {"merchant", "field", "value"} <= data.keys():
            if data["field"] == FraudListEntry.Field.COUNTRY:
                data["value"] = data["value"].upper()
            try:
                check_entry(data["field"], data["value"])
            except InvalidRequest as refusal:
                self.add_error("value", refusal.detail)
            if is_full(data["merchant"].pk):
                self.add_error(None, f"The lists of this merchant are full: they have {MAX_ENTRIES:,} entries.")
        return data


class ListFilter(ChoiceFilter):
    title = parameter_name = "list"
    offered = FraudListEntry.List.choices


@admin.register(FraudListEntry)
class FraudListEntryAdmin(RecordedAdmin):
    form = EntryForm
    list_display = ["value", "field", "list_name", "merchant", "note", "created"]
    list_filter = [ListFilter, *RecordedAdmin.list_filter]
    filter_parameters = frozenset(["list", *RecordedAdmin.filter_parameters])
    search_fields = ["value__exact", "merchant__name"]
    search_help_text = "The whole value, or the merchant"
    fields = ["merchant", "list", "field", "value", "note"]

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # an entry is removed and added again, so that the record of changes has both

    @display(description="List", ordering="list")
    def list_name(self, entry: FraudListEntry) -> str:
        return show_badge(entry.get_list_display(), LIST_COLOURS[entry.list])

    created = column("Added (UTC)", show_time, "created_at")


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none at run time
    class Meta:
        model = VelocityRule
        fields = [*COUNTED, "maximum", "outcome", "is_enabled", "note"]
        labels: ClassVar = {"window_seconds": "Window in seconds"}
        help_texts: ClassVar = {
            "currency": "Required for a sum of amounts, such as EUR: payments in other currencies do not count.",
            "window_seconds": "3600 is an hour, 86400 a day, 2592000 (30 days) the longest.",
            "maximum": "A number of payments, or a sum in minor units: 10000 is EUR 100.00.",
            "outcome": "For a payment beyond the maximum.",
        }

    def clean_currency(self) -> str | None:
        return clean_currency(self.cleaned_data["currency"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if self.instance.pk is None and "merchant" in data and has_all_rules(data["merchant"].pk):
            self.add_error(None, f"This merchant has {MAX_RULES} velocity rules, the most that are possible.")
        return data


@admin.register(VelocityRule)
class VelocityRuleAdmin(RecordedAdmin):
    form = RuleForm
    list_display = ["id", "merchant", "field", "measure", "currency", "window", "maximum", "result", "is_enabled"]
    fields = [*COUNTED, "maximum", "outcome", "is_enabled", "note"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [] if obj is None else list(COUNTED)

    window = column("Window", lambda rule: str(timedelta(seconds=rule.window_seconds)), ordering="window_seconds")

    @display(description="Beyond it", ordering="outcome")
    def result(self, rule: VelocityRule) -> str:
        return show_badge(rule.get_outcome_display(), OUTCOME_COLOURS[rule.outcome])


@admin.register(FraudChange)
class FraudChangeAdmin(ChangeAdmin):
    list_display = ["id", "changed", "merchant_link", "subject", "actor", "before_shown", "after_shown"]
    list_select_related = ["merchant"]
    list_filter = [("merchant", AutocompleteSelectFilter)]
    filter_parameters = frozenset(["merchant__id__exact"])
    fields = [("id", "changed"), ("merchant_link", "actor"), "subject", ("before_shown", "after_shown")]

    merchant_link = column("Merchant", lambda change: link_to(Merchant, change.merchant_id, change.merchant.name))
