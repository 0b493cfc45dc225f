"""Decode a delivery for the projection: the identity of each alert, and its state.

Impossible times (the year 9999) count as missing, and `repaired` records them.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from alerts_audit.identity import identify
from alerts_audit.models.projection import MAX_ALERTNAMES
from alerts_audit.payload import Alert, Payload
from alerts_audit.projection.state_machine import AlertUpdate

# Both are indexed, and index entries must stay below 2,704 bytes.
MAX_NAME = 200
MAX_SUMMARY = 2000
# A start or an end outside of this range is not a real time.
FIRST_YEAR = 1970
LAST_YEAR = 2200
AHEAD = timedelta(days=1)

MAX_INTEGER = 2**31 - 1


class DecodedAlert(msgspec.Struct, frozen=True, gc=False):
    """An alert of a delivery: its identity and its state."""

    identity: bytes
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    fingerprint: str
    update: AlertUpdate

    @property
    def alertname(self) -> str:
        return self.labels.get("alertname", "")[:MAX_NAME]

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")[:MAX_NAME]

    @property
    def summary(self) -> str:
        return (self.annotations.get("summary") or self.annotations.get("description", ""))[:MAX_SUMMARY]


class Update(msgspec.Struct, frozen=True):
    payload: Payload
    alerts: list[DecodedAlert]
    receiver: str
    repaired: str | None

    @property
    def truncated(self) -> int:
        return min(max(self.payload.truncated_alerts, 0), MAX_INTEGER)

    @property
    def alertnames(self) -> list[str]:
        return sorted({alert.alertname for alert in self.alerts})[:MAX_ALERTNAMES]


def read(payload: Payload, repaired: Iterable[str], *, source: str, cluster: str, at: datetime) -> Update:
    """Interpret the payload of a delivery received at `at`. Raise Unreadable."""
    repairs = set(repaired)
    alerts = [
        read_alert(alert, payload.status, source=source, cluster=cluster, at=at, repairs=repairs)
        for alert in payload.alerts
    ]
    return Update(payload, alerts, unescape(payload.receiver), "; ".join(sorted(repairs)) or None)


def unescape(receiver: str) -> str:
    """Return the receiver as configured: Alertmanager sends it escaped, as a regular expression."""
    return re.sub(r"\\([\\.+*?()|\[\]{}^$])", r"\1", receiver)


def read_alert(
    alert: Alert, group_status: str, *, source: str, cluster: str, at: datetime, repairs: set[str]
) -> DecodedAlert:
    firing = (alert.status or group_status) != "resolved"
    starts_at = usable(alert.starts_at, at)
    ends_at = None if firing else usable(alert.ends_at, at)
    if starts_at is None:
        repairs.add("a start that nobody can use")
    if ends_at is None and not firing:
        repairs.add("an end that nobody can use")
    return DecodedAlert(
        identify(cluster, alert.labels),
        alert.labels,
        alert.annotations,
        alert.generator_url,
        alert.fingerprint,
        AlertUpdate(source, at, firing, starts_at, ends_at),
    )


def usable(time: datetime | None, at: datetime) -> datetime | None:
    if time is None or not FIRST_YEAR < time.year < LAST_YEAR:
        return None
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return time if time <= at + AHEAD else None
