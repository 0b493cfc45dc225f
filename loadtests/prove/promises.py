"""The promises, judged by the files of evidence in one folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from loadtests.drill import bounds, scorecard
from loadtests.prove.fleet import unmeasured
from loadtests.quiet import document

KILLS, HOSTS, SCORECARD = "kills.json", "hosts.json", "scorecard.json"
SILENCE, TESTS = "quiet.json", "tests.xml"
MAX_NAMES = 5


@dataclass(frozen=True)
class Result:
    promise: str
    held: bool
    figure: str
    evidence: str

    def line(self) -> str:
        return f"{'held  ' if self.held else 'BROKEN'}  {self.promise}: {self.figure} ({self.evidence})"


def judge(folder: Path) -> list[Result]:
    """Return one result for each promise. Evidence that is missing or unreadable breaks it."""
    return [guard(folder, *promise) for promise in PROMISES]


def guard(folder: Path, promise: str, evidence: str, check: Callable[[Path], tuple[bool, str]]) -> Result:
    try:
        held, figure = check(folder)
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        held, figure = False, f"no evidence: {error}"
    return Result(promise, held, figure, str(folder / evidence))


def check_ledger(folder: Path) -> tuple[bool, str]:
    found = read(folder / KILLS)
    differences = {name: value for name, value in found["drift"].items() if value}
    problems = [*differences, *(f"{family} not measured" for family in unmeasured(found["drift"])), *found["findings"]]
    held = not problems and found["payments"] > 0
    problem = f", but {', '.join(problems)}" if not held else ""
    operations = "".join(f", {number:,} {name}s" for name, number in found.get("operations", {}).items())
    figure = (
        f"{found['payments']:,} payments{operations}, {found['kills']} kills, {len(differences)} differences{problem}"
    )
    return held, figure


def check_hosts(folder: Path) -> tuple[bool, str]:
    found = read(folder / HOSTS)
    lost = len(found["lost_payments"]) + len(found["lost_alerts"])
    problems = [*found["drift_under_load"], *found["differences"], *found["findings"], *["lost"] * bool(lost)]
    held = not problems and found["payments"] > 0 and found["alerts"] > 0 and found["samples"] > 0
    problem = f", but {', '.join(problems)}" if problems else ""
    figure = (
        f"{found['payments']:,} payments, {found['alerts']:,} alerts, {sum(found['done'].values())} hosts and leaders"
        f" killed, added or removed, {lost} lost, drift 0 in {found['samples']:,} samples{problem}"
    )
    return held, figure


def check_trail(folder: Path) -> tuple[bool, str]:
    found = read(folder / KILLS)
    problems = [*found["unrecorded"], *found["open_gaps"], *["NOT verified"] * (not found["verified"])]
    held = not problems and found["deliveries"] > 0 and found["firings"] > 0
    problem = f", but {', '.join(problems)}" if problems else ", verified"
    figure = (
        f"{found['deliveries']:,} deliveries, {found['firings']} alerts that fired,"
        f" {len(found['never_arrived'])} gaps of alerts that ended before they could arrive{problem}"
    )
    return held, figure


def check_drills(folder: Path) -> tuple[bool, str]:
    scores = scorecard.read(folder).values()
    alerts = {score.alert for score in scores if score.recorded is not None}
    missing = [fault.name for fault in scorecard.incomplete(folder)]
    again = sum(score.repeated is not None for score in scores)
    figure = f"{len(alerts)} of {len(bounds.alerts())} alerts fired by a fault"
    if again:
        figure += f", {again} drills measured again, alone"
    if missing:
        more = f" and {len(missing) - MAX_NAMES} more" if len(missing) > MAX_NAMES else ""
        figure += f"; not: {', '.join(missing[:MAX_NAMES])}{more}"
    return not missing and alerts == bounds.alerts().keys(), figure


def check_silence(folder: Path) -> tuple[bool, str]:
    runs = read(folder / SILENCE)
    hours = sum(run["hours"] for run in runs)
    positives = sum(sum(found.values()) for run in runs for found in run["false_positives"].values())
    longest = max((seconds for run in runs for seconds in run["pending_seconds"].values()), default=0.0)
    blind = max((run["blind_seconds"] for run in runs), default=0.0)
    held = bool(runs) and all(map(document.is_quiet, runs))
    figure = f"{positives} false positives in {hours:.1f} hours, longest pending {longest:.0f} s, blind {blind:.0f} s"
    return held, figure


def check_tests(folder: Path) -> tuple[bool, str]:
    suite = ElementTree.parse(folder / TESTS).getroot().find("testsuite")  # noqa: S314 (written by our pytest)
    if suite is None:
        raise ValueError("no tests ran")
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return (
        failed == 0 and total > skipped,
        f"{total - failed - skipped} tests passed, {failed} failed, {skipped} skipped",
    )


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


PROMISES = [
    ("The KPIs equal the ledger", KILLS, check_ledger),
    ("Several hosts keep one truth", HOSTS, check_hosts),
    ("Every alert is proven", SCORECARD, check_drills),
    ("Alerts are silent without a fault", SILENCE, check_silence),
    ("The alert trail is complete and verifies", KILLS, check_trail),
    ("The slow tests pass in full", TESTS, check_tests),
]
