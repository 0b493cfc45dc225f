"""Metrics of the webhook. Each outcome is exported as 0 first, so that rate() sees the first event."""

from prometheus_client import Counter

from alerts_audit.models.sources import DEFAULT_SOURCE

DELIVERIES = Counter(
    "alert_deliveries_total",
    "Requests to POST /alert by what became of them; no source: it is not known whose they were.",
    ["source", "outcome"],
)
ALERTS = Counter("alerts_received_total", "Alerts in stored deliveries, as they were sent.", ["status"])
STATUSES = ("firing", "resolved")


def introduce(source: str) -> None:
    for outcome in ("stored", "partial", "incomplete", "unavailable"):
        DELIVERIES.labels(source, outcome)


introduce(DEFAULT_SOURCE)
for outcome in ("unauthorized", "unavailable"):
    DELIVERIES.labels("", outcome)
for status in STATUSES:
    ALERTS.labels(status)
