"""The previous run, kept in a file, and what has moved since by more than the noise of both runs."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.bench.client import Result

Rounds = Mapping[str, Sequence[Result]]
FIELDS = {"payments/s": "rate", "web ms": "web_ms", "PostgreSQL ms": "postgres_ms"}


def compare(path: Path, rounds: Rounds) -> list[str]:
    """Return a sentence for each figure that moved, and keep this run for the next comparison."""
    figures = {
        contender: {name: [getattr(result, field) for result in results] for name, field in FIELDS.items()}
        for contender, results in rounds.items()
    }
    previous = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(previous | figures, indent=1))
    return [
        f"{contender}: {name} {statistics.median(before):.2f} -> {statistics.median(now):.2f}"
        for contender, values in figures.items()
        for name, now in values.items()
        if (before := previous.get(contender, {}).get(name)) and has_moved(before, now)
    ]


def has_moved(before: Sequence[float], now: Sequence[float]) -> bool:
    """Return True if the medians differ by more than the half width of both runs together."""
    noise = (max(before) - min(before) + max(now) - min(now)) / 2
    return abs(statistics.median(now) - statistics.median(before)) > noise
