"""The scorecard of the drills: scorecard.json, and the same as a page for people (scorecard.md)."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fintech.testing.processes import BASE_DIR
from loadtests.drill import bounds
from loadtests.drill.faults import BACK_FILLED, EXPORTED, FAULTS, REAL, Fault
from loadtests.drill.injectors.conditions import REAL_TIME
from loadtests.drill.steps import Timeline

WAYS = {REAL: "by a real one", BACK_FILLED: "by a real one after back-filled days", EXPORTED: "through an exporter"}
FOLDER = BASE_DIR / "docs"
HEAD = """# Scorecard

{summary}

`make prove` and `python -m loadtests.drill` write a row of this page when the fault caused the expected alert: do not
edit it. Each fault was injected into a running platform, with its real rules, routes, Prometheus and Alertmanager,
under twenty payments a second, until its alert resolved. The alert named here arrived at `/alert`, and no other.

*Real* faults happen to the programs themselves. Memory is reported *through an exporter*: a machine without memory
could not run the drill, and cAdvisor needs Docker. Alerts that compare with days before get these days by *back-
filling* Prometheus.

{pace} *Detected*: from the
start of the fault until the trail had the alert. The trail needs the web and the database: an alert about one of
these arrives when it is back, while people are *notified* immediately. *Resolved*: from the end of the fault until
the trail had the alert as resolved; an alert covers a window of the past and keeps firing for a while to avoid
flapping. The *bound* is computed from the rule: `for`, the window's ramp for this fault, two evaluations, a scrape,
Alertmanager's waiting, and the pace of programs that the drill cannot accelerate. Three drills ran at once, each on a
platform of its own. One that was late beside the others was *measured again, alone*. `scorecard.json` has all of it in
seconds.
"""
USUAL_PACE = """\
Times are in minutes of the rules' time, which ran 20 times as fast as the clock (10 times for slow scrapes, 60 times
for windows of hours). A scrape took 20 seconds of it, so the times are not more exact than that."""
PACE = """\
Times are in minutes of the rules' time, and not more exact than a scrape.
It ran at speed {speed:g}; 1 is real time."""
RUNNING_HEAD = """# Scorecard of a running platform

{summary}

`python -m loadtests.drill --against-running` writes a row of this page when the fault caused the expected alert: do not
edit it. Each fault was injected by HTTP requests into the platform of `make run`, with the payments that it had. The
alert named here arrived at `/alert`, and no other.

Times are in minutes of the clock. A scrape took five seconds. People have their own phones there, so *notified* is
empty, and the *bound* limits the time until the alert fired. *Detected*: from the start of the fault until the trail
had the alert. *Resolved*: from the end of the fault until the trail had the alert as resolved. `scorecard.json` has all
of it in seconds.
"""
TABLE = """
| fault | alert | severity | how it is made | notified | detected | bound | resolved |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Score:
    """Times in seconds of the rules' time. None: the stage does not belong to the fault, or was not measured.

    `repeated` is why the drill was late beside others, and was measured again, alone. `running`: the platform was that
    of `make run`. `speed` is that of the rules.
    """

    fault: str
    alert: str | None
    severity: str | None
    made: str
    pending: float | None = None
    firing: float | None = None
    notified: float | None = None
    recorded: float | None = None
    resolved: float | None = None
    bound: float | None = None
    delivery: int | None = None
    leaf: int | None = None
    repeated: str | None = None
    running: bool = False
    speed: float | None = None

    @property
    def how(self) -> str:
        return f"{self.made}; measured again, alone" if self.repeated else self.made

    @property
    def is_complete(self) -> bool:
        """Return True if all stages were measured. The heartbeat notifies no one."""
        stages = [self.pending, self.firing, self.recorded, self.bound, self.leaf]
        return self.alert is None or None not in [*stages, 0 if self.severity == "none" else self.notified]

    def row(self) -> str:
        alert = f"[{self.alert}](../observability/runbooks/{self.alert}.md)" if self.alert else "none"
        times = (self.notified, self.recorded, self.bound, self.resolved)
        return f"| {' | '.join([self.fault, alert, self.severity or '', self.how, *map(minutes, times)])} |"


def score(timeline: Timeline, repeated: str | None = None) -> Score:
    fault = timeline.fault
    stages = {name: timeline.after(name) for name in ("pending", "firing", "notified", "recorded")}
    return Score(
        fault.name,
        fault.alert,
        bounds.severity(fault.alert) if fault.alert else None,
        fault.made,
        **{name: rounded(seconds) for name, seconds in stages.items()},
        resolved=rounded(timeline.after("resolved", "removed")),
        bound=rounded(timeline.bound),
        delivery=timeline.delivery,
        leaf=timeline.leaf,
        repeated=repeated,
        running=fault.conditions == REAL_TIME,
        speed=fault.conditions.speed,
    )


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f}"


def read(folder: Path = FOLDER) -> dict[str, Score]:
    """Return the scores in a folder by fault."""
    path = folder / "scorecard.json"
    return {row["fault"]: Score(**row) for row in json.loads(path.read_text())} if path.exists() else {}


def incomplete(folder: Path = FOLDER) -> list[Fault]:
    """Return the faults without a score, or without all figures."""
    scores = read(folder)
    return [fault for fault in FAULTS if fault.name not in scores or not scores[fault.name].is_complete]


def write(scores: Iterable[Score], folder: Path = FOLDER) -> None:
    """Add scores to those in a folder, in the order of the catalogue. Faults that it no longer has are left out."""
    rows: Mapping[str, Score] = read(folder) | {score.fault: score for score in scores}
    kept = [rows[fault.name] for fault in FAULTS if fault.name in rows]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scorecard.json").write_text(json.dumps([asdict(score) for score in kept], indent=1) + "\n")
    (folder / "scorecard.md").write_text(document(kept))


def document(scores: Iterable[Score]) -> str:
    scores = list(scores)
    head = RUNNING_HEAD if any(score.running for score in scores) else HEAD
    speeds = {score.speed for score in scores}
    pace = PACE.format(speed=speeds.pop()) if len(speeds) == 1 and None not in speeds else USUAL_PACE
    return head.format(summary=summary(scores), pace=pace) + TABLE + "".join(f"{score.row()}\n" for score in scores)


def summary(scores: Iterable[Score]) -> str:
    """Return one sentence with the number of alerts, and how their faults are made."""
    made = {score.alert: score.made for score in scores if score.recorded is not None}
    counts = Counter(made.values())
    ways = ", ".join(f"{counts[way]} {phrase}" for way, phrase in WAYS.items() if counts[way])
    return f"**{len(made)} of {len(bounds.alerts())} alerts** were fired by a fault of their own: {ways}."
