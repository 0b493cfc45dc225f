"""API keys: created for a merchant, shown once, revoked. Nothing else about a key can be changed."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from fintech.adminsite.display import column, page_of
from fintech.adminsite.one_time_secrets import ExpiringForm, OneTimeSecretAdmin
from payments.api_keys import create_api_key, revoke_api_key
from payments.models import ApiKey


class ApiKeyForm(ExpiringForm):
    scopes = forms.MultipleChoiceField(
        choices=ApiKey.Scope.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What the key may do. It cannot be changed afterwards.",
    )

    class Meta:
        model = ApiKey
        fields = ["merchant", "name", "scopes", "expires_at"]


@admin.register(ApiKey)
class ApiKeyAdmin(OneTimeSecretAdmin):
    issue = staticmethod(create_api_key)
    end = staticmethod(revoke_api_key)
    created_template = "payments/api_key_created.html"
    form = ApiKeyForm
    list_display = ["name", "merchant", "start", "state", "scopes_in_words", "created", "expires"]
    list_select_related = ["merchant"]
    search_fields = ["name", "prefix", "merchant__name"]
    search_help_text = "Name, beginning of the key, or merchant"
    autocomplete_fields = ["merchant"]
    change_form_template = "fintech/row.html"
    row_views = {"revoke/": "revoke_view"}
    add_fieldsets = [(None, {"fields": ["merchant", "name", "scopes", "expires_at"]})]
    fields = [("merchant", "name"), ("start", "state"), "scopes_in_words", ("created", "expires"), "revoked"]

    # --- Creating ------------------------------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        buttons = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **buttons})

    def title_of(self, obj: ApiKey) -> str:
        return f"API key for {obj.merchant}"

    # --- Revoking ------------------------------------------------------------------------------------------

    def row_context(self, request: HttpRequest, row: ApiKey) -> dict[str, Any]:
        if row.revoked_at is not None or not self.has_revoke_permission(request):
            return {}
        link = reverse("admin:payments_apikey_revoke", args=[row.pk])
        return {"tools": [{"title": "Revoke…", "icon": "block", "link": link}]}

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for confirmation; a POST revokes."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        key = get_object_or_404(ApiKey.objects.select_related("merchant"), pk=pk)
        if request.method == "POST":
            self.revoke_one(request, key)
            return HttpResponseRedirect(page_of(ApiKey, key.pk))
        context = {"title": "Revoke API key", "original": key, "page_link": page_of(ApiKey, key.pk)}
        return self.extra_page(request, "payments/revoke.html", **context)

    # --- Columns -------------------------------------------------------------------------------------------

    scopes_in_words = column("Scopes", lambda key: ", ".join(key.scopes) or "none")

    def obstacle_of(self, obj: ApiKey) -> str | None:
        return None if obj.merchant.is_active else "merchant inactive"
