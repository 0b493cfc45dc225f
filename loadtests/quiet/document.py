"""docs/quiet.json has the figures of each quiet run, and docs/quiet.md shows them."""

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
MAX_PENDING_SECONDS = 120
# A look or two may fail on a busy machine. Nothing in a run stops Prometheus.
MAX_BLIND_SECONDS = 60
HEAD = """# Silence, measured

`python -m loadtests.quiet` writes this page: do not edit it. Each run starts the real platform with its real rules and
ordinary traffic. Every twelve minutes it adds an ordinary disturbance: a killed web process, a database with slow
commits, or rotated keys. Runs in real time also have a deployment (HUP) and a restarted worker. Faster runs do not: the
seconds that a restart takes would be minutes for the rules. No alert may fire, and none may be pending for more than
two minutes. *Blind* is the time in which Prometheus did not show its alerts: at most one minute, so that a dead
Prometheus is not taken for silence.

Hours and minutes are those of the rules. At speed 20, the rules run twenty times as fast as the clock; speed 1 is real
time. Traffic is *normal* (20 payments per real second), *nightly* (ten payments a minute), *low* (one a minute) or
*mixed* (another one of these every hour).

| hours | speed | traffic | payments | disturbances | false positives | longest pending | blind | trail |
|---|---|---|---|---|---|---|---|---|
"""


def is_quiet(run: dict[str, Any]) -> bool:
    longest = max(run["pending_seconds"].values(), default=0)
    saw_alerts = run["blind_seconds"] <= MAX_BLIND_SECONDS and run["payments"] > 0
    return saw_alerts and not run["false_positives"] and longest <= MAX_PENDING_SECONDS and run["trail"] == "verified"


def row(run: dict[str, Any]) -> str:
    positives = ", ".join(f"{name}: {sum(hours.values())}" for name, hours in run["false_positives"].items()) or "0"
    longest = max(run["pending_seconds"].items(), key=lambda item: item[1], default=None)
    pending = f"{longest[1]:.0f} s ({longest[0]})" if longest else "none"
    blind = f"{run['blind_seconds']:.0f} s" if "blind_seconds" in run else "not measured"
    counts = [f"{run['payments']:,}", sum(run["disturbances"].values()), positives]
    cells = [run["hours"], run["speed"], run["traffic"], *counts, pending, blind, run["trail"]]
    return f"| {' | '.join(f'{cell:g}' if isinstance(cell, float) else str(cell) for cell in cells)} |"


def document(runs: list[dict[str, Any]]) -> str:
    hours = sum(run["hours"] for run in runs)
    positives = sum(sum(hours.values()) for run in runs for hours in run["false_positives"].values())
    total = f"Together: {hours:.1f} hours of the rules' time, {positives} false positives."
    notes = "".join(f"\n{run['note']}\n" for run in runs if "note" in run)
    return HEAD + "\n".join(map(row, runs)) + f"\n\n{total}\n{notes}"


def add(run: dict[str, Any], folder: Path = DOCS) -> None:
    """Add a run to both files, in a folder that need not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "quiet.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    runs.append(run)
    path.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")
    (folder / "quiet.md").write_text(document(runs), encoding="utf-8")
