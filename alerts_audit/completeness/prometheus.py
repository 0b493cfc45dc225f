"""The client of Prometheus."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from alerts_audit.completeness.alertmanager import FAILED, failure_name
from alerts_audit.completeness.http import PollError, fetch_json
from alerts_audit.completeness.relabelling import ACTIONS, UNKNOWN, Labels, Step, relabel


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
    _sets_unknown: bool = field(default=False, init=False)

    def firing(self, begin: datetime, end: datetime) -> list[Firing]:
        """Return every alert with a sample in the range: a raw range omits none, unlike a range with steps."""
        seconds = max(1, round((end - begin).total_seconds()))
        answer = self._query(f'ALERTS{{alertstate="firing"}}[{seconds}s]', end)
        found = [(self.normalise(series["metric"]), series["values"]) for series in answer]
        return [
            Firing(labels, [datetime.fromtimestamp(float(timestamp), UTC) for timestamp, _ in values])
            for labels, values in found
            if labels is not None
        ]

    def failed(self) -> dict[str, int]:
        """Return the failed notifications of all Alertmanagers that it scrapes."""
        found: dict[str, int] = {}
        for series in self._query(FAILED, datetime.now(UTC)):
            name = f"{series['metric'].get('instance', '')} {failure_name(series['metric'])}".strip()
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
        known = {name: value for name, value in common.items() if UNKNOWN not in value}
        self._sets_unknown |= len(known) < len(common)
        return known if self._follows_all else {name: own[name] for name in known if own.get(name) == known[name]}

    @cached_property
    def pause(self) -> timedelta:
        """Return the time without a sample after which an alert has ended: it has one for each evaluation."""
        usual = to_seconds(str(self._configuration.get("global", {}).get("evaluation_interval", "1m")))
        return timedelta(seconds=2 * max([usual, *self._intervals()]) + 1)

    def _intervals(self) -> list[float]:
        """Return the intervals of the groups with alerts, in seconds."""
        try:
            groups = fetch_json(self.url, "/api/v1/rules?type=alert")["data"]["groups"]
            return [float(group["interval"]) for group in groups if group["rules"]]
        except (PollError, KeyError, TypeError, ValueError):
            return []

    @property
    def knows_all_labels(self) -> bool:
        """Return True if every Alertmanager gets the same labels, and all of those returned until now are known."""
        return self._follows_all and len(self._relabellings) == 1 and not self._sets_unknown

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
