"""The trail's part of the admin's first page: firing alerts, gaps and verification, with a few cheap reads."""

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from alerts_audit.models import Episode, Gap, Review, Verification
from alerts_audit.permissions import may
from alerts_audit.sources.tokens import heartbeat_alerts
from fintech.adminsite.display import show_time

# Limit of the count of firing alerts; above it the number is a lower bound.
MAX_COUNTED = 1000
# How long AuditBroken fires after a finding, and when AuditUnverified begins to fire.
FINDINGS_STAY = timedelta(hours=2)
VERIFIED_WITHIN = timedelta(hours=3)


def dashboard_section(request: HttpRequest) -> dict[str, Any] | None:
    """Return the section's template and its context; None without permission."""
    if not may(request.user, "view_episode"):
        return None
    heartbeats, all_firing = heartbeat_alerts(), Episode.objects.filter(state=Episode.State.FIRING)
    firing = all_firing.exclude(alertname__in=heartbeats).order_by("-id")
    beating = all_firing.filter(alertname__in=heartbeats).values_list("alertname", flat=True)
    severities = dict(firing.values_list("key", "severity")[:MAX_COUNTED])
    keys, critical = list(severities), list(severities.values()).count("critical")
    answered = Review.objects.filter(episode_key__in=keys, kind=Review.Kind.ACKNOWLEDGE).count() if keys else 0
    return {
        "template": "alerts_audit/dashboard_alerts.html",
        "firing": len(keys),
        "firing_more": len(keys) == MAX_COUNTED,
        "critical": critical,
        "critical_more": len(keys) == MAX_COUNTED,
        "unanswered": len(keys) - answered,
        "heartbeats": ", ".join(sorted(set(beating[:MAX_COUNTED]))),
        "open_gaps": Gap.objects.open().count(),
        **verified(timezone.now()),
    }


def verified(now: datetime) -> dict[str, Any]:
    """Return the state of the newest verification, and of an earlier one that AuditBroken still reports."""
    newest = Verification.objects.first()
    broken = Verification.objects.filter(at__gt=now - FINDINGS_STAY).exclude(findings=[]).first()
    return {
        "verification": newest,
        "verified_at": show_time(newest.at) if newest else None,
        "is_old": newest is not None and newest.at < now - VERIFIED_WITHIN,
        "broken": broken,
        "broken_at": show_time(broken.at) if broken else None,
    }
