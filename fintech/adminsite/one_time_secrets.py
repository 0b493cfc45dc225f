"""Secrets in the admin, such as API keys and tokens: created, shown once, revoked."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib.auth import get_permission_codename
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from fintech.adminsite.changelists import KeptAdmin
from fintech.adminsite.display import page_of


def show_once(
    model_admin: Any, request: HttpRequest, template: str, *, title: str, original: Model, secret: str, back_to: str
) -> HttpResponse:
    """Show a secret once. A redirect would need to store it in between, for example in a session."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "original": original,
        "secret": secret,
        "page_link": back_to,
    }
    return TemplateResponse(request, template, context)


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
    created_template: str

    def title_of(self, obj: Any) -> str:
        raise NotImplementedError

    def subject_of(self, obj: Any) -> Model:
        """Return the object that the page with the secret describes."""
        return obj

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Allow revocation, which is the only change."""
        change = f"{self.opts.app_label}.{get_permission_codename('change', self.opts)}"
        return self.has_view_permission(request) and request.user.has_perm(change)

    @sensitive_variables("secret")
    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        form.save(commit=False)  # Django requires a form to return an object; `create` makes the row
        row, secret = type(self).issue(**form.cleaned_data)
        row.secret = secret  # for this one response
        return row

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Do nothing: the row is saved already."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return show_once(
            self,
            request,
            self.created_template,
            title=self.title_of(obj),
            original=self.subject_of(obj),
            secret=obj.secret,
            back_to=page_of(type(obj), obj.pk),
        )
