"""Counters of deliveries and alerts. Each outcome is exported as 0 first, so that rate() sees the first event."""

from prometheus_client import Counter

from alerts_audit.models.sources import DEFAULT_SOURCE

DELIVERIES = Counter(
    "alert_deliveries_total",
    "Requests to POST /alert by their outcome. The source is empty where the token is not known.",
    ["source", "outcome"],
)
ALERTS = Counter("alerts_received_total", "Alerts in stored deliveries, by the status that was sent.", ["status"])
STATUSES = ("firing", "resolved")


def initialize(source: str) -> None:
    """Export the outcomes of a source's deliveries as 0."""
    for outcome in ("stored", "partial", "incomplete", "unavailable"):
        DELIVERIES.labels(source, outcome)


initialize(DEFAULT_SOURCE)
for outcome in ("unauthorized", "unavailable"):
    DELIVERIES.labels("", outcome)
for status in STATUSES:
    ALERTS.labels(status)
