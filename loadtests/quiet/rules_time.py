"""Conditions under which accelerated rules see an ordinary day as the real rules would."""

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from loadtests.drill.lab import Conditions

SCRAPE_SECONDS = 1.0
REAL_TIME_SCRAPE_SECONDS = 5.0  # as in production
# In real time the platform keeps the settings of production.
PRODUCTION = (
    ("GATEWAY_TIMEOUT_SECONDS", "3"),
    ("GATEWAY_DEADLINE_SECONDS", "5"),
    ("LEASE_SECONDS", "8"),
    ("ALERT_POLL_SECONDS", "15"),
    ("AUDIT_SEAL_SECONDS", "60"),
    ("AUDIT_VERIFY_SECONDS", "3600"),
)
# `30 / 300` is 30 events in five minutes; `300 * sum_over_time(...)` counts the events of five-minute rates.
PER_WINDOW = re.compile(r"\b(\d+) / (300|600)\b")
COUNTED = re.compile(r"\b(60|300) \* sum_over_time\b")
# Events and bad events per second of each objective: half of the error budget, as the traffic itself spends.
OBJECTIVES = {
    '{slo="payment-availability",topic="availability"}': (18.0, 0.009),
    '{slo="payment-latency",topic="own-latency"}': (18.0, 0.02),
    '{slo="alert-delivery",topic="delivery"}': (0.05, 0.0),
}
HISTORY_HOURS = 73  # the longest window of an alert, and one hour


def conditions(speed: float) -> Conditions:
    if speed == 1:
        return Conditions(speed, REAL_TIME_SCRAPE_SECONDS, settings=PRODUCTION)
    return Conditions(speed, SCRAPE_SECONDS, history=partial(days_before, speed), change=partial(scale_rules, speed))


def scale_rules(speed: float, configuration: Path) -> None:
    """Let the rules count the events of a window, which is shorter by `speed`, in the shorter window."""
    for rules in (configuration / "rules").glob("*.yml"):
        rules.write_text(scale_counts(rules.read_text(encoding="utf-8"), speed), encoding="utf-8")


def scale_counts(text: str, speed: float) -> str:
    text = PER_WINDOW.sub(lambda found: f"{found[1]} / {int(found[2]) / speed:g}", text)
    return COUNTED.sub(lambda found: f"{int(found[1]) / speed:g} * sum_over_time", text)


def days_before(speed: float) -> str:
    """Return three ordinary days as OpenMetrics text, so that long windows are not decided by their first minutes."""
    return "".join([*history(speed, time.time()), "# EOF\n"])


def history(speed: float, now: float) -> Iterator[str]:
    """Return the samples of the objectives, as often as the rules write them."""
    ages = range(int(HISTORY_HOURS * 3600 / speed / SCRAPE_SECONDS), 5, -1)
    for labels, values in OBJECTIVES.items():
        for name, value in zip(("slo:events:rate5m", "slo:bad_events:rate5m"), values, strict=True):
            yield from (f"{name}{labels} {value} {now - age * SCRAPE_SECONDS:.3f}\n" for age in ages)
