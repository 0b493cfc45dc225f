"""Statistics of alert handling over the last days: a few statements over the index of `opened_at`, at most 30 days."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts_audit.selectors import types
from alerts_audit.sources.tokens import heartbeat_alerts
from fintech.database.replica import connection, from_replica
from fintech.database.sql import fetch_all

DEFAULT_DAYS, MAX_DAYS = 7, 30
TOP = 10

# One pass over the period's episodes, without a sort, which PostgreSQL runs in parallel. An impossible time
# (alerts_audit/infinite_timestamps.py) has no duration.
EPISODES = """
SELECT severity, alertname, count(*), count(*) FILTER (WHERE state = 'resolved'),
    coalesce(sum(seconds) FILTER (WHERE state = 'resolved'), 0), sum(seconds), count(*) FILTER (WHERE state = 'firing')
FROM (
    SELECT severity, alertname, state, CASE WHEN isfinite(starts_at) AND isfinite(coalesce(ends_at, closed_at, now()))
        THEN date_part('epoch', coalesce(ends_at, closed_at, now()) - starts_at) ELSE 0 END AS seconds
    FROM alerts_audit_episode WHERE opened_at >= %(since)s
) AS episode
GROUP BY severity, alertname
"""
# From the index only, except for the few excluded ones.
DAYS = """
SELECT day::date, (SELECT count(*) FROM alerts_audit_episode
    WHERE opened_at >= greatest(day, %(since)s) AND opened_at < day + interval '1 day')
- (SELECT count(*) FROM alerts_audit_episode WHERE alertname = ANY(%(heartbeats)s)
    AND opened_at >= greatest(day, %(since)s) AND opened_at < day + interval '1 day')
FROM generate_series(date_trunc('day', %(since)s, 'UTC'), now(), interval '1 day') AS day
"""
# Reviews are later than their episode. An episode has at most one acknowledgement.
ACKNOWLEDGED = """
SELECT episode.alertname, count(*), sum(date_part('epoch', review.at - episode.opened_at))
FROM alerts_audit_review AS review JOIN alerts_audit_episode AS episode ON episode.key = review.episode_key
WHERE review.kind = 'acknowledge' AND review.at >= %(since)s AND episode.opened_at >= %(since)s
    AND isfinite(review.at) AND isfinite(episode.opened_at)
GROUP BY episode.alertname
"""
NOISE = """
SELECT episode.alertname, count(*)
FROM (
    SELECT DISTINCT episode_key FROM alerts_audit_review WHERE kind = 'noise' AND at >= %(since)s
) AS review JOIN alerts_audit_episode AS episode ON episode.key = review.episode_key
WHERE episode.opened_at >= %(since)s
GROUP BY episode.alertname
"""


@dataclass
class Sum:
    """Sums over some episodes; durations in seconds."""

    alerts: int = 0
    resolved: int = 0
    resolved_seconds: float = 0.0
    seconds: float = 0.0
    firing: int = 0

    def add(self, other: "Sum") -> None:
        for part, value in vars(other).items():
            setattr(self, part, getattr(self, part) + value)

    @property
    def mttr_seconds(self) -> float | None:
        return self.resolved_seconds / self.resolved if self.resolved else None


@from_replica
def statistics(*, days: int) -> types.Statistics:
    """Return statistics of the episodes opened in the last `days` (1 to 30).

    MTTA is the mean time from the first report of an alert to its acknowledgement, over the acknowledged alerts; MTTR
    the mean time from start to end, over the resolved alerts. The noise share is of all alerts. Durations are in
    seconds; None without data. Heartbeats are excluded.
    """
    now = datetime.now(UTC)
    since, heartbeats = now - timedelta(days=days), heartbeat_alerts()
    total, by_severity, by_alert = _episodes(since, heartbeats)
    acknowledged = {
        name: (number, seconds) for name, number, seconds in _rows(ACKNOWLEDGED, since) if name not in heartbeats
    }
    noise = {name: number for name, number in _rows(NOISE, since) if name not in heartbeats}
    answered, marked = sum(number for number, _ in acknowledged.values()), sum(noise.values())
    return {
        "from": since,
        "until": now,
        "days": days,
        "not_counted": heartbeats,
        "alerts": total.alerts,
        "alerts_per_day": round(total.alerts / days, 2),
        "firing": total.firing,
        "acknowledged": answered,
        "mtta_seconds": sum(seconds for _, seconds in acknowledged.values()) / answered if answered else None,
        "mttr_seconds": total.mttr_seconds,
        "noise": marked,
        "noise_share": marked / total.alerts if total.alerts else None,
        "by_day": [{"day": day, "alerts": number} for day, number in _rows(DAYS, since, heartbeats=heartbeats)],
        "by_severity": [
            {"severity": name, "alerts": part.alerts, "mttr_seconds": part.mttr_seconds}
            for name, part in _most_first(by_severity)
        ],
        "top": _top(by_alert, acknowledged, noise),
    }


def _top(
    by_alert: dict[str, Sum], acknowledged: dict[str, tuple[int, float]], noise: dict[str, int]
) -> list[types.OfAlert]:
    return [
        {
            "alertname": name,
            "alerts": part.alerts,
            "firing_seconds": part.seconds,
            "mttr_seconds": part.mttr_seconds,
            "acknowledged": acknowledged.get(name, (0, 0.0))[0],
            "noise_share": noise.get(name, 0) / part.alerts,
        }
        for name, part in _most_first(by_alert)[:TOP]
    ]


def _most_first(parts: dict[str, Sum]) -> list[tuple[str, Sum]]:
    return sorted(parts.items(), key=lambda item: (-item[1].alerts, item[0]))


def _episodes(since: datetime, heartbeats: list[str]) -> tuple[Sum, dict[str, Sum], dict[str, Sum]]:
    """Return the sums of all episodes, by severity and by alert."""
    total = Sum()
    by_severity: defaultdict[str, Sum] = defaultdict(Sum)
    by_alert: defaultdict[str, Sum] = defaultdict(Sum)
    for severity, alertname, *values in _rows(EPISODES, since):
        if alertname in heartbeats:
            continue
        part = Sum(*values)
        for whole in (total, by_severity[severity], by_alert[alertname]):
            whole.add(part)
    return total, by_severity, by_alert


def _rows(statement: str, since: datetime, **values: Any) -> list[Any]:
    return fetch_all(statement, {"since": since, **values}, using=connection().alias)
