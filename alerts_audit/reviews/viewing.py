"""Record page views of the trail: one row per page, list or export, never one per item."""

from django.contrib.auth.models import User

from alerts_audit.models import View
from fintech.telemetry.logging import request_id

MAX_KEY = 500


def record_view(*, user: User, what: str, key: object = "") -> None:
    """Record a page view: `what` is the kind of page, `key` names the item or contains the filter."""
    View.objects.create(
        user=user.get_username(),
        user_id=user.pk,
        what=what,
        key=str(key).replace("\0", " ")[:MAX_KEY],
        request_id=request_id.get(),
    )
