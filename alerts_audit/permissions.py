"""Authentication and permissions for the trail: a person, by an access token or by the admin's session cookie.

The person's current permissions decide, so removing one, or deactivating the person, has an immediate effect. Only a
token's SHA-256 is stored: it has 256 random bits, so it cannot be guessed.
"""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework import exceptions
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request

from alerts_audit.models import AccessToken
from fintech import tokens
from fintech.http.problems import Problem
from fintech.http.views import refuse_other_content


@sensitive_variables("new")
def issue_token(*, user: User, name: str, expires_at: datetime | None = None) -> tuple[AccessToken, str]:
    """Create a token. The second part of the result is the token itself, which cannot be shown again."""
    new = tokens.issue(tokens.ACCESS)
    row = AccessToken.objects.create(user=user, name=name, prefix=new.prefix, sha256=new.sha256, expires_at=expires_at)
    return row, new.secret


def revoke_token(token: AccessToken) -> None:
    """Revoke a token. Revoking it again changes nothing."""
    AccessToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def authenticate_user(header: str) -> User:
    """Return the person of an Authorization header. Raise Problem 401 with the reason."""
    secret = tokens.read_bearer(header)
    if not secret:
        raise refused("invalid_token", "Send Authorization: Bearer <access token>.")
    token = AccessToken.objects.select_related("user").filter(sha256=tokens.digest(secret)).first()
    if token is None:
        raise refused("invalid_token", "This access token does not exist. A merchant's API key is not an access token.")
    if token.revoked_at is not None:
        raise refused("revoked_token", "This access token was revoked: use another one.")
    if token.expires_at is not None and token.expires_at <= timezone.now():
        raise refused("expired_token", "This access token has expired: create another one.")
    if not token.user.is_active:
        raise refused("inactive_user", "The user of this access token is not active.")
    return token.user


def refused(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})


class PersonAuthentication(SessionAuthentication):
    """A bearer token, or the session cookie of the admin. With the cookie, a POST needs the CSRF token."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        header = request.META.get("HTTP_AUTHORIZATION")
        found = (authenticate_user(header), None) if header else self._by_cookie(request)
        if found is None:
            raise refused("missing_token", "Send Authorization: Bearer <access token>, or sign in to the admin.")
        request._request.log_fields["user"] = found[0].pk  # type: ignore[attr-defined]
        return found

    def _by_cookie(self, request: Request) -> Any:
        try:
            return super().authenticate(request)
        except exceptions.PermissionDenied:
            raise Problem(403, "csrf_failed", "With the session cookie, send X-CSRFToken too.") from None

    def enforce_csrf(self, request: Request) -> None:
        if request.method == "POST":
            refuse_other_content(request._request)  # of a form, Django would read the body to look for a token
        # Django's own request: REST framework's would parse the body to look for a token in a form.
        super().enforce_csrf(request._request)  # type: ignore[arg-type]

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def require(user: Any, *permissions: str) -> None:
    """Raise Problem 403 unless the person has all of these permissions of the trail, such as `view_episode`."""
    missing = [name for name in permissions if not user.has_perm(f"alerts_audit.{name}")]
    if missing:
        raise Problem(403, "forbidden", f"You lack the permission {' and '.join(missing)}.")


def may(user: Any, *permissions: str) -> bool:
    return all(user.has_perm(f"alerts_audit.{name}") for name in permissions)
