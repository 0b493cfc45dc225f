"""The tokens with which people use the API without a browser: issued, shown once, revoked."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import action, display

from alerts_audit.models import AccessToken
from alerts_audit.permissions import issue_token, revoke_token
from fintech.adminsite.display import show_badge, show_code, time_column
from fintech.adminsite.one_time_secrets import ExpiringForm, OneTimeSecretAdmin

TOKEN_COLOURS = {"active": "success", "expired": "warning", "revoked": "danger", "inactive user": "warning"}


class AccessTokenForm(ExpiringForm):
    class Meta:
        model = AccessToken
        fields = ["user", "name", "expires_at"]


@admin.register(AccessToken)
class AccessTokenAdmin(OneTimeSecretAdmin):
    """An admin of tokens that belong to a person."""

    issue = staticmethod(issue_token)
    created_template = "alerts_audit/token_created.html"
    form = AccessTokenForm
    list_display = ["name", "user", "start", "state", "created", "expires"]
    list_select_related = ["user"]
    list_per_page = 50
    search_fields = ["name", "prefix", "user__username"]
    search_help_text = "Name, beginning of the token, or user"
    autocomplete_fields = ["user"]
    actions = ["revoke"]
    add_fieldsets = [(None, {"fields": ["user", "name", "expires_at"]})]
    fields = [("name", "user"), ("start", "state"), ("created", "expires")]

    def title_of(self, obj: AccessToken) -> str:
        return f"Access token for {obj.user}"

    @action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        for token in queryset.filter(revoked_at=None):
            revoke_token(token)
            self.log_change(request, token, "Revoked.")
            self.message_user(request, f"{token} is revoked and refused from now on.", messages.SUCCESS)

    @display(description="Begins with")
    def start(self, token: AccessToken) -> str:
        return show_code(f"{token.prefix}_…")

    created = time_column("created_at", "Created (UTC)")
    expires = time_column("expires_at", "Expires (UTC)")

    @display(description="State")
    def state(self, token: AccessToken) -> str:
        word = get_state(token)
        return show_badge(word, TOKEN_COLOURS[word])


def get_state(token: AccessToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= timezone.now():
        return "expired"
    return "active" if token.user.is_active else "inactive user"
