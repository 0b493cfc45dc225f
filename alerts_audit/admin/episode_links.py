"""The links of an episode: its runbook, Prometheus, Grafana, and the logs of that time."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse

from alerts_audit.links import web_address
from alerts_audit.models import Episode

# The runbooks that come with the project, as our rules name them.
RUNBOOK = re.compile(r"observability/runbooks/(\w+)\.md")
LOGS = '{container="fintech_flask"}'


def get_links(episode: Episode) -> Iterator[dict[str, str]]:
    """Yield the links that a browser may follow: annotations can contain any text."""
    notes = episode.annotations
    runbook = notes.get("runbook_url", "")
    if runbook_file(episode) is not None:
        yield link("Runbook", reverse("admin:alerts_audit_episode_runbook", args=[episode.pk]), "menu_book")
    elif web_address(runbook):
        yield link("Runbook", runbook, "menu_book")
    if web_address(episode.generator_url):
        yield link("Prometheus query", episode.generator_url, "query_stats")
    # Without a Grafana, the annotation's address would lead nowhere, so it is shown as text.
    if settings.GRAFANA_URL:
        dashboard = web_address(notes.get("dashboard_url")) or web_address(notes.get("grafana_url"))
        address = dashboard or f"{settings.GRAFANA_URL}/d/alert-trail"
        yield link("Grafana", with_range(address, episode), "monitoring")
        yield link("Logs of that minute", logs_address(episode.starts_at), "article")


def link(title: str, address: str, icon: str) -> dict[str, str]:
    return {"title": title, "address": address, "icon": icon}


def with_range(address: str, episode: Episode) -> str:
    """Return a dashboard's address with the time range from a quarter of an hour before to a quarter after."""
    margin = timedelta(minutes=15)
    end = episode.ends_at or episode.closed_at or episode.last_seen_at
    times = {"from": milliseconds(episode.starts_at - margin), "to": milliseconds(end + margin)}
    return address if "from=" in address else f"{address}{'&' if '?' in address else '?'}{urlencode(times)}"


def logs_address(moment: datetime) -> str:
    """Return Grafana Explore with Loki, from a minute before to two minutes after."""
    pane = {
        "datasource": "loki",
        "queries": [{"refId": "A", "datasource": {"type": "loki", "uid": "loki"}, "expr": LOGS}],
        "range": {
            "from": str(milliseconds(moment - timedelta(minutes=1))),
            "to": str(milliseconds(moment + timedelta(minutes=2))),
        },
    }
    query = urlencode({"schemaVersion": 1, "orgId": 1, "panes": json.dumps({"logs": pane})})
    return f"{settings.GRAFANA_URL}/explore?{query}"


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def runbook_file(episode: Episode) -> Path | None:
    named = RUNBOOK.search(str(episode.annotations.get("runbook_url", "")))
    path = settings.BASE_DIR / "observability" / "runbooks" / f"{named[1]}.md" if named else None
    return path if path is not None and path.is_file() else None
