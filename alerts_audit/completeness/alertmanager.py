"""The client of Alertmanager."""

from dataclasses import dataclass
from typing import Any

import orjson

from alerts_audit.completeness.http import PollError, fetch, fetch_json
from fintech.telemetry.scrapes import read_samples

FAILED = "alertmanager_notifications_failed_total"


@dataclass(frozen=True)
class Alertmanager:
    """Client of one Alertmanager's API v2."""

    url: str

    def alerts(self) -> list[dict[str, Any]]:
        """Return all alerts that have not ended, in the order of their labels."""
        answer = fetch_json(self.url, "/api/v2/alerts?silenced=true&inhibited=true&active=true&unprocessed=true")
        try:
            alerts = [_alert(item) for item in answer]
        except (KeyError, TypeError, AttributeError) as error:
            raise PollError(f"{self.url} returned alerts in an unknown format") from error
        return sorted(alerts, key=lambda alert: orjson.dumps(alert["labels"], option=orjson.OPT_SORT_KEYS))

    def silence(self, key: str) -> dict[str, Any]:
        """Return author, comment and end of a silence, or only its id if they cannot be read."""
        try:
            silence = fetch_json(self.url, f"/api/v2/silence/{key}")
            return {"id": key, **{name: silence.get(name) for name in ("createdBy", "comment", "endsAt")}}
        except (PollError, AttributeError):
            return {"id": key}

    def failed(self) -> dict[str, int]:
        text = fetch(self.url, "/metrics").decode(errors="replace")
        try:
            return failed_notifications(text)
        except (ValueError, OverflowError) as error:  # no metrics, or a count that is NaN or infinite
            raise PollError(f"{self.url}/metrics did not answer with counts") from error


def _alert(item: dict[str, Any]) -> dict[str, Any]:
    """Return the stored fields of an alert, without those that change while it fires unchanged (updatedAt, endsAt)."""
    status = item["status"]
    alert = {
        # As in the projection: PostgreSQL refuses NUL, and both sides must have the same labels.
        "labels": {name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") for name, value in item["labels"].items()},
        "starts_at": str(item["startsAt"]),
        "fingerprint": str(item.get("fingerprint", "")),
        "state": str(status["state"]),
        "silenced_by": sorted(status.get("silencedBy") or []),
        "inhibited_by": sorted(status.get("inhibitedBy") or []),
    }
    if muted := status.get("mutedBy"):  # by a time interval of the route; since 0.28
        alert["muted_by"] = sorted(muted)
    return alert


def failed_notifications(text: str) -> dict[str, int]:
    """Return the counts of a scrape by integration and, if it has one, reason."""
    found: dict[str, int] = {}
    for sample in read_samples(text, (FAILED,)):
        name = failure_name(sample.labels)
        found[name] = found.get(name, 0) + int(sample.value)
    return found


def failure_name(labels: dict[str, str]) -> str:
    return " ".join(filter(None, [labels.get("integration", ""), labels.get("reason", "")]))
