"""Webhook endpoints: made and changed by the services, with a secret that is shown once. Deliveries are read-only."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from fintech.adminsite.changelists import KeptAdmin, ReadOnlyAdmin
from fintech.adminsite.display import column, link_to, page_of, show_badge, show_code, show_time
from fintech.adminsite.filters import ChoiceFilter
from payments.errors import PaymentError
from payments.models import WebhookDelivery, WebhookEndpoint
from payments.webhooks import endpoints, redelivery
from payments.webhooks.objects import ALL_TYPES

DELIVERY_COLOURS = {"pending": "info", "delivered": "success", "failed": "danger"}


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none at run time
    event_types = forms.MultipleChoiceField(
        choices=[(name, name) for name in ALL_TYPES],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None selected: all types, new ones included.",
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["merchant", "url", "event_types", "description", "is_enabled"]
        widgets = {"url": forms.TextInput(attrs={"size": 80})}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        try:
            stored_url = self.instance.url or None
            endpoints.check_input(data.get("url", ""), data.get("event_types", []), stored_url=stored_url)
            if not self.instance._state.adding:
                endpoints.check_unused(self.instance, data.get("url", ""))
            elif "merchant" in data:
                endpoints.check_room(data["merchant"].pk)
        except PaymentError as error:
            self.add_error("url" if error.param == "url" else None, error.detail)
        return data


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(KeptAdmin):
    form = EndpointForm
    conflicts = (*KeptAdmin.conflicts, PaymentError)
    list_display = ["url", "merchant", "state", "types", "failing", "created"]
    list_select_related = ["merchant"]
    list_per_page = 50
    search_fields = ["url", "merchant__name"]
    search_help_text = "URL or merchant"
    autocomplete_fields = ["merchant"]
    actions = ["rotate_secret", "send_test_event"]
    add_fieldsets = [(None, {"fields": ["merchant", "url", "event_types", "description", "is_enabled"]})]
    fields = ["merchant", "url", "event_types", "description", "is_enabled", ("state", "failing", "created")]
    readonly_fields = ["state", "failing", "created"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return [*self.readonly_fields, *(["merchant"] if obj else [])]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.fields if obj else self.add_fieldsets[0][1]["fields"]

    # --- Creating and changing -----------------------------------------------------------------------------

    @sensitive_variables("secret")
    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        form.save(commit=False)  # Django requires a form to return an object; the services make the row
        data = form.cleaned_data
        if change:
            names = [name for name in form.changed_data if name != "merchant"]
            return endpoints.change_endpoint(form.instance, **{name: data[name] for name in names})
        merchant = data.pop("merchant")
        endpoint, secret = endpoints.create_endpoint(merchant_id=merchant.pk, **data)
        endpoint.secret = secret  # type: ignore[attr-defined]  # for this one response
        return endpoint

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Do nothing: the row is saved already."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self._show_secret(request, obj, obj.secret)

    # --- Actions -------------------------------------------------------------------------------------------

    @action(description="Rotate the secret", permissions=["change"])
    @sensitive_variables("secret")
    def rotate_secret(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, "Select one endpoint: its new secret is shown once.", messages.ERROR)
            return None
        secret = endpoints.rotate_secret(chosen[0])
        self.log_change(request, chosen[0], "Rotated the secret.")
        return self._show_secret(request, chosen[0], secret)

    @action(description="Send a test event", permissions=["change"])
    def send_test_event(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            try:
                redelivery.send_test_event(endpoint)
            except PaymentError as error:
                self.message_user(request, f"{endpoint}: {error.detail}", messages.ERROR)
                continue
            self.log_change(request, endpoint, "Sent a test event.")
            self.message_user(request, f"A test event for {endpoint} is queued.", messages.SUCCESS)

    @sensitive_variables("secret", "context")
    def _show_secret(self, request: HttpRequest, endpoint: WebhookEndpoint, secret: str) -> HttpResponse:
        context = {"original": endpoint, "secret": secret, "page_link": page_of(WebhookEndpoint, endpoint.pk)}
        return self.extra_page(request, "payments/webhook_secret.html", title=f"Secret for {endpoint.url}", **context)

    # --- Columns -------------------------------------------------------------------------------------------

    @display(description="State")
    def state(self, endpoint: WebhookEndpoint) -> str:
        if endpoint.disabled_because is not None:
            return show_badge(f"disabled: {endpoint.get_disabled_because_display().lower()}", "danger")
        return show_badge("failing", "warning") if endpoint.failing_since else show_badge("enabled", "success")

    types = column("Event types", lambda endpoint: ", ".join(endpoint.event_types) or "all")
    failing = column("Failing since (UTC)", show_time, "failing_since")
    created = column("Created (UTC)", show_time, "created_at")


class DeliveryStatusFilter(ChoiceFilter):
    title = parameter_name = "status"
    offered = WebhookDelivery.Status.choices


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ["id", "queued", "target", "type", "state", "tries"]
    list_select_related = ["endpoint", "event"]
    list_filter = [DeliveryStatusFilter]
    filter_parameters = unindexed_filters = frozenset(["status"])
    fields = [("id", "state"), ("type", "event_id"), ("queued", "delivered"), "target", "all_attempts"]

    queued = column("Queued (UTC)", show_time, "queued_at")
    delivered = column("Delivered (UTC)", show_time, "delivered_at")
    target = column("Endpoint", lambda delivery: link_to(WebhookEndpoint, delivery.endpoint_id, delivery.endpoint.url))
    type = column("Event", lambda delivery: delivery.event.type)
    event_id = column("Event id", show_code, "event_id")
    state = column("Status", lambda delivery: show_badge(delivery.status, DELIVERY_COLOURS[delivery.status]))

    @display(description="Attempts")
    def all_attempts(self, delivery: WebhookDelivery) -> SafeString:
        lines = (
            (
                show_time(attempt.at),
                f"{attempt.outcome} {attempt.status_code or ''}",
                f"{attempt.milliseconds:,} ms",
                attempt.answer,
            )
            for attempt in delivery.attempts.all()
        )
        rows = format_html_join("", '<tr><td>{}</td><td>{}</td><td class="number">{}</td><td>{}</td></tr>', lines)
        return format_html('<table class="sheet">{}</table>', rows) if rows else SafeString("-")
