"""Secrets in the admin, such as API keys and tokens: created, shown once, revoked."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import get_permission_codename
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from unfold.decorators import action, display

from fintech.adminsite.changelists import KeptAdmin
from fintech.adminsite.display import column, page_of, show_badge, show_code, show_time


class ExpiringForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none at run time
    """A form of a secret with an optional expiry, `expires_at`."""

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError("Use a time in the future, or none.")
        return expires_at


class OneTimeSecretAdmin(KeptAdmin):
    """An admin of secrets that can be created and revoked, and not changed otherwise."""

    # The only place that creates the secret: from the form's values to the row and the secret.
    issue: Callable[..., tuple[Any, str]]
    # The only place that revokes it.
    end: Callable[[Any], object]
    end_takes_effect = "Requests with it are refused within five seconds."
    created_template: str

    list_per_page = 50
    actions = ["revoke"]

    def title_of(self, obj: Any) -> str:
        raise NotImplementedError

    def subject_of(self, obj: Any) -> Model:
        """Return the object that the page with the secret describes."""
        return obj

    def obstacle_of(self, obj: Any) -> str | None:
        """Return why a secret is refused that is neither revoked nor expired."""
        return None

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Allow revocation, which is the only change."""
        change = f"{self.opts.app_label}.{get_permission_codename('change', self.opts)}"
        return self.has_view_permission(request) and request.user.has_perm(change)

    @action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.revoke_one(request, obj)

    def revoke_one(self, request: HttpRequest, obj: Any) -> None:
        if obj.revoked_at is not None:
            self.message_user(request, f"{obj} was already revoked.", messages.INFO)
            return
        type(self).end(obj)
        self.log_change(request, obj, "Revoked.")
        self.message_user(request, f"{obj} is revoked. {self.end_takes_effect}", messages.SUCCESS)

    start = column("Begins with", lambda obj: show_code(f"{obj.prefix}_…"))
    created = column("Created (UTC)", show_time, "created_at")
    expires = column("Expires (UTC)", show_time, "expires_at")
    revoked = column("Revoked (UTC)", show_time, "revoked_at")

    @display(description="State")
    def state(self, obj: Any) -> str:
        if obj.revoked_at is not None:
            return show_badge("revoked", "danger")
        expires_at = getattr(obj, "expires_at", None)  # some never expire
        if expires_at is not None and expires_at <= timezone.now():
            return show_badge("expired", "warning")
        obstacle = self.obstacle_of(obj)
        return show_badge(obstacle, "warning") if obstacle else show_badge("active", "success")

    @sensitive_variables("secret")
    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        form.save(commit=False)  # Django requires a form to return an object; `create` makes the row
        row, secret = type(self).issue(**form.cleaned_data)
        row.secret = secret  # for this one response
        return row

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Do nothing: the row is saved already."""

    @sensitive_variables("context")
    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the secret at once. A redirect would need to store it in between, for example in a session."""
        context = {"title": self.title_of(obj), "original": self.subject_of(obj), "secret": obj.secret}
        return self.extra_page(request, self.created_template, **context, page_link=page_of(type(obj), obj.pk))
