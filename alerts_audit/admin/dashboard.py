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
    firing = Episode.objects.filter(state=Episode.State.FIRING).order_by("-id")
    critical = firing.filter(severity="critical")[:MOST_COUNTED].count()
    # Without the heartbeat, which always fires.
    keys = list(firing.exclude(severity__in=["", "none"]).values_list("key", flat=True)[:MOST_COUNTED])
    answered = Review.objects.filter(episode_key__in=keys, kind=Review.Kind.ACKNOWLEDGE).count() if keys else 0
    verification = Verification.objects.first()
    return {
        "template": "alerts_audit/now.html",
        "firing": len(keys),
        "firing_more": len(keys) == MOST_COUNTED,
        "critical": critical,
        "critical_more": critical == MOST_COUNTED,
        "unanswered": len(keys) - answered,
        "open_gaps": Gap.objects.open().count(),
        "verification": verification,
        "verified_at": show_time(verification.at) if verification else None,
    }
