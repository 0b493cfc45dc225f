"""Record page views of the trail: one row per page, list or export, never one per item."""

from urllib.parse import unquote_plus

from django.contrib.auth.models import User
from django.http import HttpRequest

from alerts_audit.models import View
from fintech.telemetry.logging import mask_email_addresses, redact, request_id

MAX_KEY = 500


def record_view(*, user: User, what: str, key: object = "") -> None:
    """Record a page view: `what` is the kind of page, `key` names the item or is the filter (`filter_of`)."""
    View.objects.create(
        user=user.get_username(),
        user_id=user.pk,
        what=what,
        key=str(key).replace("\0", " ")[:MAX_KEY],
        request_id=request_id.get(),
    )


def filter_of(request: HttpRequest) -> str:
    """Return the request's query without card numbers, keys and e-mail addresses.

    No one could remove them from sealed evidence.
    """
    query = request.META.get("QUERY_STRING", "")
    text = unquote_plus(query)
    masked = redact(mask_email_addresses(text))
    return query if masked == text else masked
