"""A load test over time: its samples in buckets, for the plots of the report."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.run.samples import Sample
from loadtests.run.summary import held, percentiles

BUCKETS = 90
LINES = ("p50", "p95", "p99")


@dataclass
class Timeline:
    """One value per bucket and series. `times` are the buckets' middles in seconds. `width` is a bucket's length; the
    last one may be half as long, or one and a half times as long.
    """

    width: float
    times: list[float]
    rates: dict[str, list[float]] = field(default_factory=dict)
    latencies: dict[str, list[float | None]] = field(default_factory=dict)
    outcomes: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, list[float]] = field(default_factory=dict)


def make_timeline(samples: Sequence[Sample], seconds: float, ends: Sequence[float] = ()) -> Timeline:
    """Return the timeline of `seconds` of load. `ends` are those of its steps, if it had several."""
    width = float(max(1, math.ceil(seconds / BUCKETS)))
    count = max(1, int(seconds / width + 0.5))
    # The last bucket ends with the test. It has at least half a width: a few requests in a moment would be a high rate.
    widths = [width] * (count - 1) + [seconds - (count - 1) * width]
    line = Timeline(width, [index * width + widths[index] / 2 for index in range(count)])

    def per_second(times: Iterable[float]) -> list[float]:
        found = Counter(min(count - 1, int(at / width)) for at in times if at < seconds)
        return [found[index] / widths[index] for index in range(count)]

    due = [sample for sample in samples if sample.attempt == 1]
    line.rates = {
        "asked": per_second(sample.due_seconds for sample in due),
        "held": per_second(sample.answered_at for sample in held(samples, ends or [seconds])),
    }
    line.latencies = latency_lines(samples, width, count)
    line.outcomes = split(samples, lambda sample: sample.outcome, per_second)
    line.errors = split(samples, lambda sample: kind(sample) if sample.error else "", per_second)
    return line


def latency_lines(samples: Sequence[Sample], width: float, count: int) -> dict[str, list[float | None]]:
    """Return the percentiles of each bucket of due times; None without a request."""
    buckets: list[list[float]] = [[] for _ in range(count)]
    for sample in samples:
        buckets[min(count - 1, int(sample.due_seconds / width))].append(sample.latency_ms)
    found = [percentiles(bucket) if bucket else None for bucket in buckets]
    return {name: [values[name] if values else None for values in found] for name in LINES}


def kind(sample: Sample) -> str:
    """Return the kind of an error: few enough for a legend."""
    if sample.status == 0:
        return "no answer"
    return "wrong answer" if sample.status < 400 else f"status {sample.status}"


def split(
    samples: Sequence[Sample], label: Callable[[Sample], str], per_second: Callable[[Iterable[float]], list[float]]
) -> dict[str, list[float]]:
    """Return a series for each label, the most frequent first, by due time: each request has one."""
    groups = Counter(name for sample in samples if (name := label(sample)))
    return {
        name: per_second(sample.due_seconds for sample in samples if label(sample) == name)
        for name, _ in groups.most_common()
    }
