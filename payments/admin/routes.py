"""Gateway routes, and the read-only record of their changes."""

from django import forms
from django.contrib import admin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from fintech.adminsite.display import column, link_to, show_badge, show_time
from payments.admin.recorded import ChangeAdmin, RecordedAdmin, clean_currency
from payments.gateway.registry import gateways
from payments.models import GatewayRoute, GatewayRouteChange, Merchant


def _configured() -> list[tuple[str, str]]:
    return [(name, name) for name in gateways.names]


class RouteForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none at run time
    gateway = forms.ChoiceField(choices=_configured, widget=UnfoldAdminSelectWidget, help_text="It is asked first.")
    fallback = forms.ChoiceField(
        choices=lambda: [("", "None"), *_configured()],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="It is asked if the first one is known to have charged nothing.",
    )

    class Meta:
        model = GatewayRoute
        fields = ["merchant", "currency", "gateway", "fallback", "note"]

    def clean_currency(self) -> str | None:
        return clean_currency(self.cleaned_data["currency"])

    def clean_fallback(self) -> str | None:
        return self.cleaned_data["fallback"] or None


def _show(gateway: str) -> str:
    return gateway if gateway in gateways.names else show_badge(f"{gateway} is not configured", "danger")


@admin.register(GatewayRoute)
class GatewayRouteAdmin(RecordedAdmin):
    form = RouteForm
    list_display = ["id", "of_merchant", "of_currency", "first", "second", "note", "created"]
    fields = ["merchant", "currency", "gateway", "fallback", "note"]

    @display(description="Merchant")
    def of_merchant(self, route: GatewayRoute) -> str:
        return link_to(Merchant, route.merchant_id, route.merchant.name) if route.merchant else "all others"

    of_currency = column("Currency", lambda route: route.currency or "all others", ordering="currency")
    first = column("Gateway", _show, "gateway", ordering="gateway")
    second = column("Then", lambda route: _show(route.fallback) if route.fallback else "-", ordering="fallback")
    created = column("Added (UTC)", show_time, "created_at")


@admin.register(GatewayRouteChange)
class GatewayRouteChangeAdmin(ChangeAdmin):
    list_display = ["id", "changed", "route_id", "actor", "before_shown", "after_shown"]
    fields = [("id", "changed"), ("route_id", "actor"), ("before_shown", "after_shown")]
