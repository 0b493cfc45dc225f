"""The tokens with which people use the API without a browser: issued, shown once, revoked."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest

from alerts_audit.models import AccessToken
from alerts_audit.permissions import issue_token, revoke_token
from fintech.adminsite.one_time_secrets import ExpiringForm, OneTimeSecretAdmin


class AccessTokenForm(ExpiringForm):
    class Meta:
        model = AccessToken
        fields = ["user", "name", "expires_at"]


@admin.register(AccessToken)
class AccessTokenAdmin(OneTimeSecretAdmin):
    issue = staticmethod(issue_token)
    end = staticmethod(revoke_token)
    end_takes_effect = "Requests with it are refused from now on."
    created_template = "alerts_audit/token_created.html"
    form = AccessTokenForm
    list_display = ["name", "user", "start", "state", "created", "expires"]
    list_select_related = ["user"]
    search_fields = ["name", "prefix", "user__username"]
    search_help_text = "Name, beginning of the token, or user"
    autocomplete_fields = ["user"]
    add_fieldsets = [(None, {"fields": ["user", "name", "expires_at"]})]
    fields = [("name", "user"), ("start", "state"), ("created", "expires")]

    def get_autocomplete_fields(self, request: HttpRequest) -> Any:
        return super().get_autocomplete_fields(request) if request.user.is_superuser else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Offer all users to a superuser only: a token has the permissions of its user, who may have more."""
        if db_field.name == "user" and not request.user.is_superuser:
            options["queryset"] = User.objects.filter(pk=request.user.pk)  # type: ignore[misc] # the admin admits only users
            options["initial"] = request.user.pk
            options["help_text"] = "Only a superuser can create tokens for others."
        return super().formfield_for_foreignkey(db_field, request, **options)

    def title_of(self, obj: AccessToken) -> str:
        return f"Access token for {obj.user}"

    def obstacle_of(self, obj: AccessToken) -> str | None:
        return None if obj.user.is_active else "inactive user"
