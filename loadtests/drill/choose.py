"""Choose the drills of a test run: a fault that the last change touched, and another one in turn.

A change touches an alert if it changes its rule, a recorded series that the rule reads, a file with the alert's name
(its tests, its runbook), or the module that makes its fault. If it touches no alert so closely, it touches the alerts
about the part of the program that it changes.
"""

import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from fintech.testing.processes import BASE_DIR
from loadtests.drill import scorecard
from loadtests.drill.bounds import RULES, parse, with_sources
from loadtests.drill.faults import FAULTS, Fault
from loadtests.drill.lab import SPEED
from loadtests.drill.scorecard import Score

# Seconds, for a fault and until its alert has resolved; a platform needs half a minute more until it is calm.
MAX_SECONDS = 60
# The alerts about each part, by the files of their rules.
PARTS = {
    "payments": ("payments.yml", "slo.yml"),
    "alerts_audit": ("integrity.yml",),
    "fintech": ("platform.yml",),
    "loadtests/gateway": ("payments.yml",),
    "observability": ("platform.yml",),
}
Rules = Mapping[str, str]  # file name -> text
NO_RULES = "groups: []"


def choose(touched: Sequence[Fault], turn: int, faults: Sequence[Fault] = FAULTS) -> list[Fault]:
    """Return at most two short drills: one of the touched faults, and one of the others. `turn` selects them."""
    scores = scorecard.read()
    short = [fault for fault in faults if is_short(fault, scores.get(fault.name))]
    near = [fault for fault in short if fault in touched]
    rest = [fault for fault in short if fault not in touched]
    return [some[turn % len(some)] for some in (near, rest) if some]


def is_short(fault: Fault, score: Score | None) -> bool:
    """Return True if the drill was measured, is short, and its alert fires while the fault lasts."""
    if score is None or score.recorded is None or fault.keeps_its_speed:
        return False
    seconds = max(fault.minutes * 60, score.recorded) + (score.resolved or 0)
    return score.severity != "none" and seconds / SPEED <= MAX_SECONDS


def touched(paths: Collection[str], before: Rules, now: Rules, faults: Sequence[Fault] = FAULTS) -> list[Fault]:
    """Return the faults that a change touches, if not closely then by the part of the program."""
    alerts = {PurePath(path).stem for path in paths} | changed_alerts(before, now)
    modules = {path.removesuffix(".py").replace("/", ".") for path in paths if path.endswith(".py")}
    closely = [
        fault for fault in faults if fault.alert in alerts or modules & {fault.begin.__module__, fault.end.__module__}
    ]
    if closely:
        return closely
    files = {file for path in paths for part, files in PARTS.items() if path.startswith(f"{part}/") for file in files}
    about = {alert for file in files for alert in definitions([now.get(file, NO_RULES)])}
    return [fault for fault in faults if fault.alert in about]


def changed_alerts(before: Rules, now: Rules) -> set[str]:
    """Return the alerts whose rule is another or new, or reads a recorded series that is another."""
    old, new = definitions(before.values()), definitions(now.values())
    return {alert for alert, definition in new.items() if old.get(alert) != definition}


def definitions(texts: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return each alert's rule, with the rules of the recorded series that it reads."""
    rules = [rule for text in texts for rule in parse(text)]
    return {rule["alert"]: list(with_sources(rule, rules)) for rule in rules if "alert" in rule}


def chosen_here() -> list[Fault]:
    """Return the drills for the last commit and what is not committed yet. Without Git's parent of this commit, nothing
    counts as touched.
    """
    now = {path.name: path.read_text(encoding="utf-8") for path in RULES.glob("*.yml")}
    turn = int(git("rev-parse", "HEAD").strip() or "0", 16)
    if not git("rev-parse", "--verify", "--quiet", "HEAD^"):
        return choose([], turn)
    paths = git("diff", "--name-only", "HEAD^").splitlines()
    place = RULES.relative_to(BASE_DIR).as_posix()
    before = {name: git("show", f"HEAD^:{place}/{name}") or NO_RULES for name in now}
    return choose(touched(paths, before, now), turn)


def git(*words: str) -> str:
    """Return the output of Git, or nothing if it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
            errors="surrogateescape",  # a file may be no UTF-8
            check=False,
            timeout=30,
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
