"""Clients of Alertmanager and Prometheus. Every call is bounded in time and size; `PollError` describes the failure."""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import urllib3
import yaml
from prometheus_client.parser import text_string_to_metric_families

from alerts_audit.completeness.relabelling import ACTIONS, Labels, Step, relabel
from fintech.errors import Unavailable

# 10,000 alerts with long annotations are about 20 MB.
MAX_ANSWER = 64 * 1024 * 1024
MAX_ANSWER_SECONDS = 30
FAILED = "alertmanager_notifications_failed_total"

http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=10), retries=False, maxsize=2)


class PollError(Unavailable):
    """A source did not answer, or its answer does not match its interface."""


def fetch(base_url: str, path: str) -> bytes:
    """Return the content of `base_url` and `path`. Raise PollError."""
    url = base_url.rstrip("/") + path
    place = url.partition("?")[0]
    if not url.startswith(("http://", "https://")):
        raise PollError(f"{place} is not an address such as http://alertmanager:9093")
    try:
        response = http.request("GET", url, preload_content=False)
        try:
            content = read_within_limits(response)
        finally:
            response.close()
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise PollError(f"{place} does not answer: {type(error).__name__}") from error
    if response.status != 200:
        raise PollError(f"{place} answered {response.status}")
    if len(content) > MAX_ANSWER:
        raise PollError(f"{place} answered with more than {MAX_ANSWER} bytes")
    return content


def read_within_limits(response: urllib3.BaseHTTPResponse) -> bytes:
    """Read everything, up to slightly more than the limit. Raise TimeoutError if it takes too long."""
    deadline = time.monotonic() + MAX_ANSWER_SECONDS
    content = bytearray()
    for part in response.stream(1024 * 1024):
        content += part
        if len(content) > MAX_ANSWER:
            break
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


def fetch_json(base_url: str, path: str) -> Any:
    try:
        return orjson.loads(fetch(base_url, path))
    except orjson.JSONDecodeError as error:
        raise PollError(f"{base_url}{path.partition('?')[0]} did not answer with JSON") from error


def failed_notifications(text: str) -> dict[str, int]:
    """Return the counts of a scrape by integration and, if it has one, reason."""
    found: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == FAILED:
                name = _failure(sample.labels)
                found[name] = found.get(name, 0) + int(sample.value)
    return found


def _failure(labels: dict[str, str]) -> str:
    return " ".join(filter(None, [labels.get("integration", ""), labels.get("reason", "")]))


# --- Alertmanager ------------------------------------------------------------------------------------------


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


# --- Prometheus --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Firing:
    """A series of ALERTS: its labels as Alertmanager would receive them, and when it was firing."""

    labels: dict[str, str]
    samples: list[datetime]


@dataclass
class Prometheus:
    """The HTTP API of one Prometheus. Created for each poll, since its configuration may change.

    `alertmanager_url` selects the Alertmanager of the same source among those that this Prometheus sends to.
    """

    url: str
    alertmanager_url: str = ""

    def firing(self, begin: datetime, end: datetime) -> list[Firing]:
        """Return every alert with a sample in the range, however short. A raw range omits no sample, unlike a range
        with steps.
        """
        seconds = max(1, round((end - begin).total_seconds()))
        answer = self._query(f'ALERTS{{alertstate="firing"}}[{seconds}s]', end)
        found = [(self.normalise(series["metric"]), series["values"]) for series in answer]
        return [
            Firing(labels, [moment(value[0]) for value in values]) for labels, values in found if labels is not None
        ]

    def failed(self) -> dict[str, int]:
        """Return the failed notifications of all Alertmanagers that it scrapes."""
        found: dict[str, int] = {}
        for series in self._query(FAILED, datetime.now(UTC)):
            name = f"{series['metric'].get('instance', '')} {_failure(series['metric'])}".strip()
            found[name] = found.get(name, 0) + int(float(series["value"][1]))
        return found

    def normalise(self, metric: Labels) -> Labels | None:
        """Return the labels of an ALERTS series as a webhook carries them; None if the alert is not sent.

        ALERTS has `alertstate`, and lacks the external labels, which are added where the alert has no such label
        itself. Then comes the relabelling. Where its result is not known exactly, only labels that are certain remain.
        """
        own = {name: value for name, value in metric.items() if name not in ("__name__", "alertstate")}
        sent = [relabel({**self._external, **own}, steps) for steps in self._relabellings]
        if None in sent:
            return None
        first, *others = [labels for labels in sent if labels is not None]
        common = {name: value for name, value in first.items() if all(labels.get(name) == value for labels in others)}
        return common if self._follows_all else {name: own[name] for name in common if own.get(name) == common[name]}

    @cached_property
    def evaluation_seconds(self) -> float:
        """Return the longest evaluation interval of any group with alerts. A firing alert has one sample per
        evaluation.
        """
        usual = to_seconds(str(self._configuration.get("global", {}).get("evaluation_interval", "1m")))
        return max([usual, *self._intervals()])

    def _intervals(self) -> list[float]:
        """Return the intervals of the groups with alerts, in seconds."""
        try:
            groups = fetch_json(self.url, "/api/v1/rules?type=alert")["data"]["groups"]
            return [float(group["interval"]) for group in groups if group["rules"]]
        except (PollError, KeyError, TypeError, ValueError):
            return []

    @property
    def knows_all_labels(self) -> bool:
        """Return True if every Alertmanager gets the same labels, and all of them are known."""
        return self._follows_all and len(self._relabellings) == 1

    @cached_property
    def _external(self) -> Labels:
        labels = self._configuration.get("global", {}).get("external_labels") or {}
        return {str(name): str(value) for name, value in labels.items()}

    @cached_property
    def _relabellings(self) -> list[list[Step]]:
        """The different lists of relabelling steps of the Alertmanagers, without unknown actions; at least one."""
        found: list[list[Step]] = []
        for configured in self._configured_relabellings():
            try:
                steps = [Step.read(step) for step in configured]
            except re.error as error:  # Go's regular expressions differ from Python's
                raise PollError(f"{self.url} relabels alerts with an unsupported rule: {error}") from error
            known = [step for step in steps if step.action in ACTIONS]
            if known not in found:
                found.append(known)
        return found

    @cached_property
    def _follows_all(self) -> bool:
        steps = chain.from_iterable(self._configured_relabellings())
        return all(str(step.get("action", "replace")).lower() in ACTIONS for step in steps)

    def _configured_relabellings(self) -> list[list[dict[str, Any]]]:
        alerting = self._configuration.get("alerting") or {}
        for_all = alerting.get("alert_relabel_configs") or []
        entries = alerting.get("alertmanagers") or [{}]
        # Only static addresses can be compared. If none is the source's, it may be any of the others.
        address = urlsplit(self.alertmanager_url).netloc
        entries = [entry for entry in entries if address in _static_targets(entry)] or entries
        return [for_all + (entry.get("alert_relabel_configs") or []) for entry in entries]

    @cached_property
    def _configuration(self) -> dict[str, Any]:
        answer = fetch_json(self.url, "/api/v1/status/config")
        try:
            return yaml.safe_load(answer["data"]["yaml"]) or {}
        except (KeyError, TypeError, yaml.YAMLError) as error:
            raise PollError(f"{self.url} returned its configuration in an unknown format") from error

    def _query(self, expression: str, at: datetime) -> list[dict[str, Any]]:
        path = "/api/v1/query?" + urlencode({"query": expression, "time": f"{at.timestamp():.3f}"})
        answer = fetch_json(self.url, path)
        try:
            return answer["data"]["result"]
        except (KeyError, TypeError) as error:
            raise PollError(f"{self.url} answered a query in an unknown format") from error


def _static_targets(entry: dict[str, Any]) -> list[str]:
    return [str(target) for group in entry.get("static_configs") or [] for target in group.get("targets") or []]


UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


def to_seconds(duration: str) -> float:
    """Return the seconds of a Prometheus duration such as 1m30s."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


def moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(float(timestamp), UTC)
