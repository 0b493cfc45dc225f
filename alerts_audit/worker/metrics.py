"""Metrics of the alert trail that the leading worker reads from the database.

Each query uses an index or a small table, for any age of the trail; none counts a large table.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from alerts_audit.completeness.heartbeat import Heartbeats
from alerts_audit.models import Checkpoint, Episode, Gap, Poll, Verification
from alerts_audit.seal.canonical import KINDS
from fintech.database.sql import fetch_all, fetch_one
from fintech.jobs import Leader
from fintech.telemetry.families import counters, gauge, gauges

SEVERITIES = ("critical", "warning", "info", "none")
OTHER = "other"  # the label's value comes from the sender and could be anything
# Counting stops here, because the number is then alarming enough.
MAX_COUNTED = 100_000
# Transitions that are added to the count per turn.
BATCH_SIZE = 50_000

PENDING = f"""
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8
FROM (SELECT at FROM alerts_audit_pending ORDER BY id LIMIT {MAX_COUNTED}) AS oldest
"""  # noqa: S608 - a number of our own
QUARANTINED = f"""
SELECT count(*) FROM (SELECT FROM alerts_audit_envelope WHERE error IS NOT NULL LIMIT {MAX_COUNTED}) AS bounded
"""  # noqa: S608 - of our own names
OPEN_EPISODES = f"""
SELECT severity, count(*) FROM (
    SELECT severity FROM alerts_audit_episode WHERE state = 'firing' LIMIT {MAX_COUNTED}
) AS bounded GROUP BY severity
"""  # noqa: S608 - of our own names
OPEN_GAPS = "SELECT reason, count(*) FROM alerts_audit_opengap GROUP BY reason"
NEW_TRANSITIONS = """
SELECT max(id), to_state, count(*) FROM (
    SELECT id, to_state FROM alerts_audit_transition WHERE id > %s ORDER BY id LIMIT %s
) AS new GROUP BY to_state
"""


@dataclass
class Trail:
    """The last values that were read."""

    pending: int = 0
    lag_seconds: float = 0.0
    quarantined: int = 0
    open_episodes: Counter[str] = field(default_factory=Counter)
    transitions: dict[str, int] = field(default_factory=dict)
    unsealed: int = 0
    tree_size: int = 0
    sealed_at: datetime | None = None
    verified_at: datetime | None = None
    findings: int = 0
    open_gaps: dict[str, int] = field(default_factory=dict)


def read_trail() -> Trail:
    trail = Trail()
    trail.pending, trail.lag_seconds = fetch_one(PENDING)
    (trail.quarantined,) = fetch_one(QUARANTINED)
    for severity, count in fetch_all(OPEN_EPISODES):
        trail.open_episodes[severity if severity in SEVERITIES else OTHER] += count
    trail.open_gaps = dict(fetch_all(OPEN_GAPS))
    trail.transitions = count_transitions()
    read_seal(trail)
    return trail


def read_seal(trail: Trail) -> None:
    checkpoint = Checkpoint.objects.order_by("-pk").only("size", "at", "settled").first()
    if checkpoint is not None:
        trail.tree_size, trail.sealed_at = checkpoint.size, checkpoint.at
    settled = checkpoint.settled if checkpoint else {}
    trail.unsealed = sum(unsealed(kind, settled.get(name, 0)) for name, kind in KINDS.items())
    verification = Verification.objects.order_by("-pk").first()
    if verification is not None:
        trail.findings = len(verification.findings)
        good = verification if verification.ok else Verification.objects.filter(findings=[]).order_by("-pk").first()
        trail.verified_at = good.at if good else None


def unsealed(kind: Any, above: int) -> int:
    """Count the rows of one kind without a leaf. All rows up to `above` have theirs."""
    return fetch_one(
        f"SELECT count(*) FROM (SELECT {kind.unsealed} LIMIT {MAX_COUNTED}) AS bounded",  # noqa: S608 - of our own names
        {"kind": kind.name, "above": above},
    )[0]


def count_transitions() -> dict[str, int]:
    """Count all transitions by their new state. The progress is stored, so a restart counts none again."""
    key: dict[str, Any] = {"source": "", "kind": "transitions"}
    poll = Poll.objects.filter(**key).first()
    state: dict[str, Any] = poll.state if poll else {"upto": 0, "counts": {}}
    rows = fetch_all(NEW_TRANSITIONS, [state["upto"], BATCH_SIZE])
    if rows:
        counts = state["counts"]
        for _, to_state, count in rows:
            counts[to_state] = counts.get(to_state, 0) + count
        state = {"upto": max(newest for newest, _, _ in rows), "counts": counts}
        now = datetime.now().astimezone()
        Poll.objects.update_or_create(**key, defaults={"until": now, "state": state})
    return state["counts"]


class TrailCollector(Collector):
    """A collector that exports only while this worker leads, because stale values would be wrong."""

    def __init__(self, leader: Leader, heartbeats: Heartbeats) -> None:
        self._leader, self._heartbeats = leader, heartbeats
        self._trail: Trail | None = None
        self._read_at = 0.0

    def forget(self) -> None:
        """Export nothing until the next refresh: the values of an earlier leadership are old."""
        self._trail = None

    def refresh(self) -> None:
        try:
            self._trail, self._read_at = read_trail(), time.monotonic()
        except Exception:
            self._trail = None  # a value that cannot be read must not keep its last one
            raise

    def collect(self) -> Iterator[Metric]:
        trail = self._trail
        if trail is None or not self._leader.leading:
            return
        lag = trail.lag_seconds + (time.monotonic() - self._read_at if trail.pending else 0)
        yield gauge("alert_projection_lag_seconds", "Age of the oldest input that is not projected.", lag)
        yield gauge("alert_projection_pending", "Deliveries and observations that are not projected.", trail.pending)
        yield gauge("alert_quarantined_deliveries", "Deliveries that cannot be parsed.", trail.quarantined)
        severities = [*SEVERITIES, OTHER]
        yield gauges("alert_episodes_open", "Firing alerts.", "severity", severities, trail.open_episodes)
        states = Episode.State.values
        yield counters("alert_transitions", "State changes of episodes.", "state", states, trail.transitions)
        yield gauges("audit_gaps_open", "Gaps in the alert trail.", "reason", Gap.Reason.values, trail.open_gaps)
        yield from self._seal(trail)
        ages, limits = self._heartbeats.ages(), self._heartbeats.limits()
        yield gauges("alert_heartbeat_age_seconds", "Time since the newest heartbeat.", "source", sorted(ages), ages)
        name = "alert_heartbeat_limit_seconds"
        yield gauges(name, "Age that the heartbeat may have.", "source", sorted(limits), limits)

    @staticmethod
    def _seal(trail: Trail) -> Iterator[Metric]:
        yield gauge("audit_unsealed_leaves", "Rows of evidence without a checkpoint.", trail.unsealed)
        yield gauge("audit_tree_size", "Leaves of the newest checkpoint.", trail.tree_size)
        sealed, verified = timestamp(trail.sealed_at), timestamp(trail.verified_at)
        yield gauge("audit_last_seal_timestamp_seconds", "Time of the newest checkpoint; 0: never.", sealed)
        name = "audit_last_verification_timestamp_seconds"
        yield gauge(name, "Time of the last verification without findings; 0: never.", verified)
        yield gauge("audit_verification_findings", "Findings of the last verification.", trail.findings)


def timestamp(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0
