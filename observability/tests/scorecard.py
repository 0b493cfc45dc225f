"""What the drills of faults measured, as a table for people: docs/scorecard.md."""

from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/scorecard.md"
HEAD = """# Scorecard

Written by `make prove`, when all of its faults brought what they should: do not edit. Each fault was made on the
running platform, with its real rules, routes, Prometheus and Alertmanager, under twenty payments a second, until its
alert was over again. What arrived at `/alert` was the alert named here and no other.

*Told after*: from the fault's beginning until the trail had the alert. *Over after*: from its end until the trail had
that it is resolved; an alert remembers what it looked at, and goes on for a while so that it does not flap. Both are in
the rules' time, which ran {speed} times as fast as the clock; a scrape took {scrape} seconds of it, so they are not
more exact than that. The trail needs the web and the database: an alert about one of these waits until it is back,
while people are told at once.

| fault | alert | told after | over after |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Score:
    """Seconds of the rules' time; None for what does not end by itself, or is rightly silent."""

    fault: str
    alert: str | None
    told: float | None
    over: float | None

    def row(self) -> str:
        alert = f"[{self.alert}](../observability/runbooks/{self.alert}.md)" if self.alert else "none"
        return f"| {self.fault} | {alert} | {minutes(self.told)} | {minutes(self.over)} |"


def minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f} min"


def document(scores: list[Score], *, speed: int, scrape_seconds: int) -> str:
    return HEAD.format(speed=speed, scrape=scrape_seconds) + "\n".join(score.row() for score in scores) + "\n"


def faults_in(text: str) -> dict[str, str | None]:
    """The alert of each fault, as the document tells it."""
    rows = [line.removeprefix("| ").split(" | ") for line in text.partition("|---|---|---|---|\n")[2].splitlines()]
    return {fault: None if alert == "none" else alert[1:].partition("]")[0] for fault, alert, *_ in rows}
