"""The alerts of each Alertmanager: in one observation, and at the time of its last answer.

An answer is stored only if it differs from the previous one, so the newest stored one is valid until the source's last
answer (`Poll.until`).
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import msgspec

from alerts_audit.identity import identify
from alerts_audit.projection.rows import Evidence
from alerts_audit.projection.state_machine import PollResult
from alerts_audit.projection.store import Connection

POLLS = """
SELECT source.cluster, source.name, poll.until, observation.observed_at, observation.body
FROM alerts_audit_source AS source
LEFT JOIN alerts_audit_poll AS poll ON poll.source = source.name AND poll.kind = 'alertmanager'
LEFT JOIN LATERAL (
    SELECT observed_at, body FROM alerts_audit_observation AS kept
    WHERE kept.source = source.name AND kept.kind = 'alertmanager' ORDER BY kept.id DESC LIMIT 1
) AS observation ON true
WHERE source.is_active
"""


class Observed(msgspec.Struct):
    """An alert that Alertmanager had."""

    labels: dict[str, str]
    starts_at: datetime | None = None
    silenced_by: list[str] = []
    inhibited_by: list[str] = []
    muted_by: list[str] = []

    def to_poll_result(self, evidence: Evidence) -> PollResult:
        kinds = {"silence": self.silenced_by, "alert": self.inhibited_by, "time interval": self.muted_by}
        by = [f"{kind} {name}" for kind, names in kinds.items() for name in names]
        return PollResult(evidence.source, evidence.at, True, self.starts_at, by)


class Observation(msgspec.Struct):
    alerts: list[Observed]


_observation = msgspec.json.Decoder(Observation)


def read_observation(evidence: Evidence) -> dict[bytes, PollResult]:
    """Return the alerts of an Alertmanager by identity."""
    alerts = _observation.decode(evidence.body).alerts
    return {identify(evidence.cluster, alert.labels): alert.to_poll_result(evidence) for alert in alerts}


@dataclass(frozen=True)
class Poll:
    """The newest answer of one source: since when it is unchanged, until when it is valid, and its alerts."""

    changed_at: datetime
    until: datetime
    alerts: frozenset[bytes]


def read_polls(connection: Connection) -> dict[str, dict[str, Poll | None]]:
    """Return the polls by cluster and source; None for a source never polled."""
    found: dict[str, dict[str, Poll | None]] = {}
    for cluster, source, until, changed_at, body in connection.execute(POLLS, prepare=True).fetchall():
        asked = until is not None and body is not None
        found.setdefault(cluster, {})[source] = Poll(changed_at, until, identities(cluster, body)) if asked else None
    return found


@lru_cache(maxsize=16)
def identities(cluster: str, body: bytes) -> frozenset[bytes]:
    return frozenset(identify(cluster, alert.labels) for alert in _observation.decode(body).alerts)
