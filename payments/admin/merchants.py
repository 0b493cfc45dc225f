"""Merchants: added and changed here, never deleted."""

import re
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.validators import MaxValueValidator, MinValueValidator
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from fintech.adminsite.changelists import KeptAdmin
from fintech.adminsite.display import column, show_time
from payments.admin.recorded import actor_of
from payments.fraud.rules import check_weights
from payments.fraud.settings import recorded_by
from payments.models import Merchant
from payments.return_urls import MAX_HOSTS, is_host
from payments.schemas import MAX_AMOUNT

# The lists of a merchant's rows, as links on its page: model, title and icon.
LISTS = (
    ("transaction", "Transactions", "receipt_long"),
    ("fraudlistentry", "Fraud list entries", "rule"),
    ("velocityrule", "Velocity rules", "speed"),
    ("fraudchange", "Fraud changes", "history"),
    ("gatewayroute", "Gateway routes", "alt_route"),
)
FRAUD_FIELDS = [
    "fraud_threshold",
    "review_threshold",
    "fraud_weights",
    "unscored_limit_minor",
    "refuse_forbidden_retries",
]


class WeightsField(forms.JSONField):
    """Shows a refused text as it was typed. Django parses it again, and fails on more than wrong syntax."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):  # a number with thousands of digits; deep nesting
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        return None if data is None else InvalidJSONInput(data)


class MerchantForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none at run time
    class Meta:
        model = Merchant
        fields = ["name", "country", "is_active", *FRAUD_FIELDS, "fee_basis_points", "return_hosts"]
        labels: ClassVar = {
            "unscored_limit_minor": "Limit for unscored payments",
            "fee_basis_points": "Fee in basis points",
        }
        field_classes: ClassVar = {"fraud_weights": WeightsField}
        help_texts: ClassVar = {
            "unscored_limit_minor": "In minor units. A payment that cannot be scored is blocked from this amount on.",
        }
        widgets: ClassVar = {
            "fraud_weights": UnfoldAdminTextareaWidget(attrs={"rows": 4}),
            "return_hosts": UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The database decides; these give the reason.
        for name, lowest, highest in (
            ("fraud_threshold", 0, 1),
            ("review_threshold", 0, 1),
            ("unscored_limit_minor", 0, MAX_AMOUNT),
            ("fee_basis_points", 0, 10_000),
        ):
            if name in self.fields:  # a page without the right to change has none
                self.fields[name].validators += [MinValueValidator(lowest), MaxValueValidator(highest)]

    def clean_country(self) -> str:
        country = self.cleaned_data["country"].upper()
        if not re.fullmatch("[A-Z]{2}", country):
            raise forms.ValidationError("Use the two letters of ISO 3166, such as DE.")
        return country

    def clean_return_hosts(self) -> list[str]:
        hosts = [host.lower().removesuffix(":443") for host in self.cleaned_data["return_hosts"]]
        for host in hosts:
            if not is_host(host):
                raise forms.ValidationError(f"{host} is no host: use a name such as shop.example or shop.example:8443.")
        if len(hosts) > MAX_HOSTS:
            raise forms.ValidationError(f"Use at most {MAX_HOSTS} hosts.")
        return sorted(set(hosts))

    def clean_fraud_weights(self) -> dict[str, float]:
        weights = self.cleaned_data["fraud_weights"]
        if weights is None:
            return {}
        try:
            check_weights(weights)
        except ValueError as error:
            raise forms.ValidationError(f"These weights are invalid: {error}.") from None
        return weights


@admin.register(Merchant)
class MerchantAdmin(KeptAdmin):
    form = MerchantForm
    list_display = ["name", "country", "active", "fraud_threshold", "fee", "created"]
    list_per_page = 50
    search_fields = ["name"]
    change_form_template = "fintech/row.html"
    readonly_fields = ["created"]
    fieldsets = [
        (None, {"fields": ["name", "country", "is_active", "created"]}),
        ("Fraud", {"fields": FRAUD_FIELDS}),
        ("Fees", {"fields": ["fee_basis_points"]}),
        ("3-D Secure", {"fields": ["return_hosts"]}),
    ]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        with recorded_by(actor_of(request)):
            super().save_model(request, obj, form, change)

    @display(description="Active", boolean=True, ordering="is_active")
    def active(self, merchant: Merchant) -> bool:
        return merchant.is_active

    fee = column("Fee", lambda merchant: f"{merchant.fee_basis_points / 100:.2f} %", ordering="fee_basis_points")
    created = column("Created (UTC)", show_time, "created_at")

    def row_context(self, request: HttpRequest, row: Merchant) -> dict[str, Any]:
        tools = [
            {
                "title": title,
                "icon": icon,
                "link": reverse(f"admin:payments_{name}_changelist") + f"?merchant__id__exact={row.pk}",
            }
            for name, title, icon in LISTS
            if request.user.has_perm(f"payments.view_{name}")
        ]
        if request.user.has_perm("payments.add_apikey"):
            link = reverse("admin:payments_apikey_add") + f"?merchant={row.pk}"
            tools.append({"title": "New API key", "icon": "key", "link": link})
        return {"tools": tools}
