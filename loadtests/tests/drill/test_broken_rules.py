"""A drill fails if a rule, a route or an inhibition is broken so that its alert reaches not the trail or not people."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fintech.testing.processes import IN_FULL, TooLate
from loadtests.drill.faults import FAULTS
from loadtests.drill.injectors.trail import FIRST_ROUTE, SWALLOW
from loadtests.drill.lab import USUAL, running_drill
from loadtests.drill.monitoring import is_installed
from loadtests.drill.steps import run

UNAUTHORIZED = next(fault for fault in FAULTS if fault.alert == "WebhookUnauthorized")
# Long enough for the alert to arrive when nothing is broken.
SHORT = replace(UNAUTHORIZED, minutes=4)
RULE = 'sum(rate(alert_deliveries_total{outcome="unauthorized"}[15000ms])) > 0\n        for: 1500ms'
INHIBITION = """inhibit_rules:
  - source_matchers: [alertname = "Watchdog"]
    target_matchers: [alertname = "WebhookUnauthorized"]
"""
NOT_MATCHED = '- matchers: [severity = "warnings"]'


def in_rules(old: str, new: str) -> Callable[[Path], object]:
    """Break the rule, by another text for a part of it."""
    return lambda folder: replace_in(folder / "rules" / "integrity.yml", RULE, RULE.replace(old, new))


def in_alertmanager(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: replace_in(folder / "alertmanager.yml", old, new)


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    assert old != new
    path.write_text(text.replace(old, new))


# What is broken, and the last stage that the alert reaches before the fault ends.
BROKEN = {
    "the threshold is too high": (in_rules("> 0", "> 1000"), "began"),
    "a label is wrong": (in_rules("unauthorized", "unauthorised"), "began"),
    "the metric is misspelt": (in_rules("alert_deliveries_total", "alert_delivery_total"), "began"),
    "`for` is too long": (in_rules("for: 1500ms", "for: 10m"), "pending"),
    "a route swallows it": (in_alertmanager(FIRST_ROUTE, SWALLOW + FIRST_ROUTE), "notified"),
    "an inhibition silences it": (in_alertmanager("inhibit_rules:\n", INHIBITION), "firing"),
    "people's route does not match": (in_alertmanager('- matchers: [severity = "warning"]', NOT_MATCHED), "recorded"),
}
# One of them a day in `make test-slow`.
TODAY = list(BROKEN)[datetime.now(UTC).toordinal() % len(BROKEN)]


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
@pytest.mark.parametrize("broken", BROKEN)
def test_a_drill_fails_if(tmp_path, broken):
    if not IN_FULL and broken != TODAY:
        pytest.skip("a minute each: `make prove`")
    change, last = BROKEN[broken]
    missing = "notified" if last == "recorded" else "recorded"
    stages: list[str] = []

    with (
        running_drill(tmp_path, replace(USUAL, change=change, with_traffic=False)) as drill,
        pytest.raises(TooLate, match=f"was not {missing}"),
    ):
        run(SHORT, drill, stages.append)

    assert missing not in stages
    assert stages[stages.index("removed") - 1] == last
