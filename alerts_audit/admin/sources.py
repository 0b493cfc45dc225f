"""Sources and their tokens, each of which is shown once."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables
from unfold.decorators import display

from alerts_audit.completeness.observe import get_addresses
from alerts_audit.models import Source, SourceToken
from alerts_audit.sources.tokens import PLACES, TooManyTokens, issue_token, revoke_token, valid_tokens
from fintech.adminsite.changelists import KeptAdmin
from fintech.adminsite.display import column, page_of, show_badge, show_code
from fintech.adminsite.one_time_secrets import OneTimeSecretAdmin

CREATED_TEMPLATE = "alerts_audit/source_token_created.html"


def title_of(token: SourceToken) -> str:
    return f"Token for {token.source}"


@admin.register(Source)
class SourceAdmin(KeptAdmin):
    """An admin in which a new source gets its first token."""

    list_display = ["name", "cluster", "state", "tokens", "alertmanager", "prometheus"]
    list_per_page = 50
    search_fields = ["name"]
    fields = [
        ("name", "cluster"),
        "is_active",
        ("alertmanager_url", "prometheus_url"),
        ("heartbeat_alert", "heartbeat_seconds"),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        return Source.objects.prefetch_related("tokens")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return ["name", "cluster", "tokens", "alertmanager", "prometheus"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        if obj is None:
            return list(self.fields)
        *first, heartbeat = self.fields
        return [*first, ("alertmanager", "prometheus"), heartbeat, "tokens"]

    @sensitive_variables("secret", "context")
    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the first token at once."""
        token, secret = issue_token(obj)
        context = {"title": title_of(token), "original": obj, "secret": secret, "page_link": page_of(Source, obj.pk)}
        return self.extra_page(request, CREATED_TEMPLATE, **context)

    @display(description="State")
    def state(self, source: Source) -> str:
        return show_badge("active", "success") if source.is_active else show_badge("inactive", "warning")

    @display(description="Alertmanager asked")
    def alertmanager(self, source: Source) -> str:
        return show_address(get_addresses(source)[0], source.alertmanager_url, "ALERTMANAGER_URL")

    @display(description="Prometheus asked")
    def prometheus(self, source: Source) -> str:
        return show_address(get_addresses(source)[1], source.prometheus_url, "PROMETHEUS_URL")

    tokens = column("Valid tokens", lambda source: show_code(", ".join(valid_tokens(source)) or "-"))


def show_address(address: str, own: str, setting: str) -> str:
    """Show the effective address, and the setting that defines it if the row does not."""
    return address if own or not address else f"{address} ({setting})"


class SourceTokenForm(ModelForm):  # type: ignore[type-arg]  # it takes none at run time
    class Meta:
        model = SourceToken
        fields = ["source"]

    def clean_source(self) -> Source:
        source = self.cleaned_data["source"]
        if source.tokens.filter(revoked_at=None).count() == len(PLACES):
            raise ValidationError("The source has two valid tokens: revoke one of them first.")
        return source


@admin.register(SourceToken)
class SourceTokenAdmin(OneTimeSecretAdmin):
    issue = staticmethod(issue_token)
    end = staticmethod(revoke_token)
    conflicts = (*OneTimeSecretAdmin.conflicts, TooManyTokens)
    created_template = CREATED_TEMPLATE
    form = SourceTokenForm
    list_display = ["start", "source", "state", "created", "revoked"]
    list_select_related = ["source"]
    search_fields = ["prefix", "source__name"]
    search_help_text = "Beginning of the token, or source"
    add_fieldsets = [(None, {"fields": ["source"]})]
    fields = [("start", "source"), "state", ("created", "revoked")]

    def title_of(self, obj: SourceToken) -> str:
        return title_of(obj)

    def subject_of(self, obj: SourceToken) -> Source:
        return obj.source
