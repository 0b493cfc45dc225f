"""What the admin begins with: alerts that fire, what is missing, and whether the log holds. A few cheap reads."""

from typing import Any

from django.http import HttpRequest

from alerts_audit.access import may
from alerts_audit.models import Episode, Gap, Review, Verification
from fintech.display import show_time

# Of what fires; beyond, the number is a lower bound.
MOST_COUNTED = 1000


def alerts_now(request: HttpRequest) -> dict[str, Any] | None:
    """The section's template and its context; None for those who may not look."""
    if not may(request.user, "view_episode"):
        return None
    firing = list(
        Episode.objects.filter(state=Episode.State.FIRING)
        .exclude(severity__in=["", "none"])  # the heartbeat, which always fires
        .order_by("-id")
        .values_list("key", "severity")[:MOST_COUNTED]
    )
    keys = [key for key, _ in firing]
    answered = Review.objects.filter(episode_key__in=keys, kind=Review.Kind.ACKNOWLEDGE).count() if keys else 0
    verification = Verification.objects.first()
    return {
        "template": "alerts_audit/now.html",
        "firing": len(firing),
        "firing_more": len(firing) == MOST_COUNTED,
        "critical": sum(severity == "critical" for _, severity in firing),
        "unanswered": len(firing) - answered,
        "open_gaps": Gap.objects.open().count(),
        "verification": verification,
        "verified_at": show_time(verification.at) if verification else None,
    }
