"""Observations of alerts that should stay silent: which fired, and how long others were pending."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loadtests.drill.lab import ALWAYS


@dataclass
class Observer:
    """`false_positives` counts alerts per name and hour of the run; `pending` has seconds of the rules' time.

    `blind` is the same kind of seconds, before looks without the heartbeat: Prometheus showed no alerts at all.
    """

    began: float  # seconds since 1970
    speed: float
    false_positives: Counter[tuple[str, int]] = field(default_factory=Counter)
    pending: dict[str, float] = field(default_factory=dict)
    blind: float = 0.0
    _known: set[tuple[str, str]] = field(default_factory=set)
    _looked: float = field(init=False)

    def __post_init__(self) -> None:
        self._looked = self.began

    def note(self, alerts: Sequence[dict[str, Any]], now: float) -> list[str]:
        """Note Prometheus's active alerts. Return the labels of those that fire and were not known."""
        if all(alert["labels"]["alertname"] != ALWAYS for alert in alerts):
            self.blind += (now - self._looked) * self.speed
        self._looked = now
        new = []
        for alert in alerts:
            name = alert["labels"]["alertname"]
            if name == ALWAYS:
                continue
            since = datetime.fromisoformat(alert["activeAt"]).timestamp()
            if alert["state"] == "pending":
                self.pending[name] = max(self.pending.get(name, 0.0), (now - since) * self.speed)
            elif (key := (str(sorted(alert["labels"].items())), alert["activeAt"])) not in self._known:
                self._known.add(key)
                self.false_positives[name, self._hour(now)] += 1
                new.append(key[0])
        return new

    def note_arrived(self, names: set[str], now: float) -> None:
        """Count alerts that arrived in the trail, although no look at Prometheus found them firing."""
        self.false_positives.update(
            (name, self._hour(now)) for name in names - {name for name, _ in self.false_positives}
        )

    def _hour(self, now: float) -> int:
        return int((now - self.began) * self.speed / 3600)

    def as_dict(self) -> dict[str, Any]:
        hours: dict[str, dict[str, int]] = {}
        for (name, hour), number in sorted(self.false_positives.items()):
            hours.setdefault(name, {})[str(hour)] = number
        return {
            "false_positives": hours,
            "pending_seconds": {name: round(seconds, 1) for name, seconds in sorted(self.pending.items())},
            "blind_seconds": round(self.blind, 1),
        }
