"""How alerts were answered over the last days: a few statements over the index of `opened_at`, at most 30 days wide."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

LONGEST_DAYS = 30
TOP = 10

# One pass over the period's episodes; `part` tells which grouping a row is of.
EPISODES = """
SELECT GROUPING(day, severity, alertname) AS part, day, severity, alertname, count(*),
    avg(seconds) FILTER (WHERE state = 'resolved'), sum(seconds), count(*) FILTER (WHERE state = 'firing')
FROM (
    SELECT (opened_at AT TIME ZONE 'UTC')::date AS day, severity, alertname, state,
        extract(epoch FROM coalesce(ends_at, closed_at, now()) - starts_at)::float8 AS seconds
    FROM alerts_audit_episode WHERE opened_at >= %(since)s
) AS episode
GROUP BY GROUPING SETS ((), (day), (severity), (alertname))
"""
# Reviews are later than what they are about, so theirs is the smaller side.
REVIEWS = """
SELECT review.kind, episode.alertname, count(DISTINCT episode.id),
    sum(extract(epoch FROM review.at - episode.opened_at))::float8
FROM alerts_audit_review AS review JOIN alerts_audit_episode AS episode ON episode.key = review.episode_key
WHERE review.kind IN ('acknowledge', 'noise') AND review.at >= %(since)s AND episode.opened_at >= %(since)s
GROUP BY review.kind, episode.alertname
"""
NOTHING, BY_DAY, BY_SEVERITY, BY_ALERT = 0b111, 0b011, 0b101, 0b110


@dataclass(frozen=True)
class Counted:
    name: Any
    alerts: int
    mttr_seconds: float | None
    firing_seconds: float
    firing: int


def statistics(*, days: int) -> dict[str, Any]:
    """Of the episodes that were opened in the last `days` (1 to 30).

    MTTA is the mean time from when we first heard of an alert to its acknowledgement, of those that were acknowledged;
    MTTR the mean from start to end, of those that resolved. The noise share is of all alerts. Durations in seconds;
    None where there is nothing to take the mean of.
    """
    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    parts = _episodes(since)
    noise, acknowledged, waited = _reviews(since)
    total = next(iter(parts[NOTHING]), Counted(None, 0, None, 0.0, 0))
    marked, answered = sum(noise.values()), sum(acknowledged.values())
    by_alert = sorted(parts[BY_ALERT], key=lambda row: (-row.alerts, row.name))
    return {
        "from": since,
        "until": now,
        "days": days,
        "alerts": total.alerts,
        "alerts_per_day": round(total.alerts / days, 2),
        "firing": total.firing,
        "acknowledged": answered,
        "mtta_seconds": waited / answered if answered else None,
        "mttr_seconds": total.mttr_seconds,
        "noise": marked,
        "noise_share": marked / total.alerts if total.alerts else None,
        "by_day": [{"day": row.name, "alerts": row.alerts} for row in sorted(parts[BY_DAY], key=lambda row: row.name)],
        "by_severity": [
            {"severity": row.name, "alerts": row.alerts, "mttr_seconds": row.mttr_seconds}
            for row in sorted(parts[BY_SEVERITY], key=lambda row: -row.alerts)
        ],
        "top": [
            {
                "alertname": row.name,
                "alerts": row.alerts,
                "firing_seconds": row.firing_seconds,
                "mttr_seconds": row.mttr_seconds,
                "acknowledged": acknowledged.get(row.name, 0),
                "noise_share": noise.get(row.name, 0) / row.alerts,
            }
            for row in by_alert[:TOP]
        ],
    }


def _episodes(since: datetime) -> dict[int, list[Counted]]:
    parts: dict[int, list[Counted]] = {NOTHING: [], BY_DAY: [], BY_SEVERITY: [], BY_ALERT: []}
    with connection.cursor() as cursor:
        cursor.execute(EPISODES, {"since": since})
        for part, day, severity, alertname, alerts, mttr, seconds, firing in cursor.fetchall():
            name = {NOTHING: None, BY_DAY: day, BY_SEVERITY: severity, BY_ALERT: alertname}[part]
            parts[part].append(Counted(name, alerts, mttr, seconds or 0.0, firing))
    return parts


def _reviews(since: datetime) -> tuple[dict[str, int], dict[str, int], float]:
    """Episodes marked as noise and acknowledged, by alert; and how long the latter had waited in all."""
    noise: dict[str, int] = {}
    acknowledged: dict[str, int] = {}
    waited = 0.0
    with connection.cursor() as cursor:
        cursor.execute(REVIEWS, {"since": since})
        for kind, alertname, number, seconds in cursor.fetchall():
            if kind == "noise":
                noise[alertname] = number
            else:
                acknowledged[alertname] = number
                waited += seconds
    return noise, acknowledged, waited
