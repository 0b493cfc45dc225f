"""How late an alert may be, computed from its rule."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import yaml

from observability.render import HERE

RULES = HERE / "prometheus" / "rules"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
WINDOW = re.compile(r"\[(\d+)(ms|[smhd])")
AGE = re.compile(r"\b(\d+) # seconds$", re.MULTILINE)
# alertmanager.yml: group_wait of the routes. After it, a message may wait for the one before it of its group.
GROUP_WAIT = {"critical": 10, "warning": 30, "none": 10}
GROUP_INTERVAL = 60


@cache
def parse(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


@cache
def rules() -> list[dict[str, Any]]:
    return [rule for file in sorted(RULES.glob("*.yml")) for rule in parse(file.read_text())]


@cache
def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def severity(alert: str) -> str:
    return alerts()[alert]["labels"]["severity"]


def seconds(duration: str) -> float:
    """Return the seconds of a duration such as `5m`."""
    found = re.fullmatch(r"(\d+)(ms|[smhd])", duration)
    if found is None:
        raise ValueError(f"{duration} is not a duration")
    return int(found[1]) * UNITS[found[2]]


def with_sources(rule: dict[str, Any], among: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the rule, and those of the recorded series that it reads."""
    yield rule
    for other in among:
        if "record" in other and other["record"] in rule["expr"]:
            yield from with_sources(other, among)


def ramp(alert: str) -> float:
    """Return the longest time until the condition of an alert holds, whatever the size of the fault: the windows that
    must fill, and the age that must pass.
    """
    texts = [rule["expr"] for rule in with_sources(alerts()[alert], rules())]
    windows = [int(number) * UNITS[unit] for text in texts for number, unit in WINDOW.findall(text)]
    ages = [int(age) for text in texts for age in AGE.findall(text)]
    return max(windows, default=0) + max(ages, default=0)


def until_firing(alert: str, *, ramp_seconds: float | None, scrape: float) -> float:
    """Return the longest time until the alert fires, in seconds of the rules' time.

    A fault of known size fills `ramp_seconds` of the window; the rule's whole window is the limit otherwise.
    """
    rise = ramp(alert) if ramp_seconds is None else ramp_seconds
    return rise + seconds(alerts()[alert].get("for", "0s")) + scrape + 2 * scrape


def until_notified(alert: str, *, ramp_seconds: float | None, scrape: float) -> float:
    wait = GROUP_WAIT[severity(alert)] + GROUP_INTERVAL
    return until_firing(alert, ramp_seconds=ramp_seconds, scrape=scrape) + wait
