"""Statistics of alert handling over the last days, on one page."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from alerts_audit.admin.display import shorten, show_duration
from alerts_audit.permissions import may
from alerts_audit.reviews.viewing import record_view
from alerts_audit.selectors import types
from alerts_audit.selectors.statistics import statistics

PERIODS = {"7": "7 days", "30": "30 days"}


def statistics_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Show the statistics. `context` is the context of every page of the admin."""
    if not may(request.user, "view_episode"):
        raise PermissionDenied
    days = request.GET.get("days") if request.GET.get("days") in PERIODS else "7"
    found = statistics(days=int(days or 7))
    record_view(user=request.user, what="statistics", key=f"{days} days")  # type: ignore[arg-type]
    choices = [{"title": title, "link": f"?days={key}", "is_chosen": key == days} for key, title in PERIODS.items()]
    shown = {"title": "Alert statistics", "choices": choices, **show_statistics(found)}
    return TemplateResponse(request, "alerts_audit/statistics.html", {**context, **shown})


def show_statistics(found: types.Statistics) -> dict[str, Any]:
    episodes = reverse("admin:alerts_audit_episode_changelist")
    return {
        "figures": {
            "Alerts": f"{found['alerts']:,}",
            "Alerts a day": f"{found['alerts_per_day']:,.1f}",
            "Firing now": f"{found['firing']:,}",
            "Mean to acknowledge": seconds(found["mtta_seconds"]),
            "Mean to resolve": seconds(found["mttr_seconds"]),
            "Acknowledged": share(found["acknowledged"], found["alerts"]),
            "Noise": share(found["noise"], found["alerts"]),
        },
        "not_counted": ", ".join(found["not_counted"]),
        "bars": get_bars(found),
        "first_day": found["from"].date(),
        "last_day": found["until"].date(),
        "top": [
            {
                "alertname": shorten(row["alertname"], 80) or "(no name)",
                "link": f"{episodes}?{urlencode({'alertname': row['alertname']})}",
                "alerts": f"{row['alerts']:,}",
                "firing": seconds(row["firing_seconds"]),
                "mttr": seconds(row["mttr_seconds"]),
                "acknowledged": share(row["acknowledged"], row["alerts"]),
                "noise": f"{row['noise_share']:.0%}",
            }
            for row in found["top"]
        ],
    }


def get_bars(found: types.Statistics) -> list[dict[str, Any]]:
    """Return a bar for each day, in a picture of 1000 by 140."""
    days = found["by_day"]
    most, step = max(row["alerts"] for row in days) or 1, 1000 / len(days)
    return [
        {
            "x": round(number * step, 1),
            "y": round(140 - 140 * row["alerts"] / most, 1),
            "width": round(step * 0.8, 1),
            "height": round(140 * row["alerts"] / most, 1),
            "title": f"{row['day']}: {row['alerts']:,}",
        }
        for number, row in enumerate(days)
    ]


def seconds(value: float | None) -> str:
    return "-" if value is None else show_duration(timedelta(seconds=value))


def share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
