"""Write the results of the fault drills as a table: docs/scorecard.md."""

from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/scorecard.md"
HEAD = """# Scorecard

`make prove` writes this page when every fault caused the expected alert: do not edit it. Each fault was injected into
the running platform, with its real rules, routes, Prometheus and Alertmanager, under twenty payments a second, until
its alert resolved. The alert named here arrived at `/alert`, and no other.

*Time to detect*: from the start of the fault until the trail had the alert. *Time to resolve*: from the end of the
fault until the trail had the alert as resolved; an alert covers a window of the past and keeps firing for a while to
avoid flapping. Both are in the rules' time, which ran {speed} times as fast as the clock. A scrape took {scrape}
seconds of it, so the times are not more exact than that. The trail needs the web and the database: an alert about one
of these arrives when it is back, while people are notified immediately.

| fault | alert | time to detect | time to resolve |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Score:
    """Times in seconds of the rules' time. None: the fault does not end by itself, or correctly raises no alert."""

    fault: str
    alert: str | None
    detected: float | None
    resolved: float | None

    def row(self) -> str:
        alert = f"[{self.alert}](../observability/runbooks/{self.alert}.md)" if self.alert else "none"
        return f"| {self.fault} | {alert} | {minutes(self.detected)} | {minutes(self.resolved)} |"


def minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f} min"


def document(scores: list[Score], *, speed: int, scrape_seconds: int) -> str:
    return HEAD.format(speed=speed, scrape=scrape_seconds) + "\n".join(score.row() for score in scores) + "\n"


def faults_in(text: str) -> dict[str, str | None]:
    """Return the alert of each fault in the document."""
    rows = [line.removeprefix("| ").split(" | ") for line in text.partition("|---|---|---|---|\n")[2].splitlines()]
    return {fault: None if alert == "none" else alert[1:].partition("]")[0] for fault, alert, *_ in rows}
