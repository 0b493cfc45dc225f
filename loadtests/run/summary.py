"""The figures of a load test, computed from its samples."""

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, quantiles
from typing import Any

from loadtests.run.samples import NOT_SENT, REPORT_SECONDS, Sample

RECENT_SECONDS = 5.0
# Name -> the number of thousandths below it.
PERCENTILES = {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p999": 999}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the distribution of times in milliseconds; zeros without any."""
    if not values:
        return dict.fromkeys(["min", "mean", *PERCENTILES, "max"], 0.0)
    cuts = quantiles([*values, *values] if len(values) == 1 else values, n=1000, method="inclusive")
    found = {name: cuts[thousandths - 1] for name, thousandths in PERCENTILES.items()}
    times = {"min": min(values), "mean": fmean(values), **found, "max": max(values)}
    return {name: round(value, 3) for name, value in times.items()}


def lately(samples: Sequence[Sample], now: float) -> tuple[list[Sample], float]:
    """Return the samples of the last answers of a running test, and their number in a second.

    Answers of the last moment are left out: they may not be reported yet.
    """
    end = max(0.0, now - REPORT_SECONDS)
    begin = max(0.0, end - RECENT_SECONDS)
    recent = [sample for sample in samples if begin < sample.answered_at <= end]
    return recent, len(recent) / (end - begin) if recent else 0.0


def held(samples: Sequence[Sample], ends: Sequence[float]) -> list[Sample]:
    """Return the due requests that were answered before the end of their step. `ends` are those of all steps."""
    return [
        sample
        for sample in samples
        if sample.attempt == 1
        and sample.status
        and sample.answered_at <= ends[bisect(ends, sample.due_seconds, hi=len(ends) - 1)]
    ]


def summarize(
    samples: Sequence[Sample], seconds: float, planned: int, lost: int = 0, ends: Sequence[float] = ()
) -> dict[str, Any]:
    """Return the figures of `seconds` of load, in which `planned` requests were due.

    Each of them has one sample with attempt 1, except the last ones of `lost` load processes. `ends` are those of the
    steps of the load, if it had several.
    """
    due = [sample for sample in samples if sample.attempt == 1]
    answered = sum(1 for sample in due if sample.status)
    in_time = len(held(samples, ends or [seconds]))
    failed = sum(1 for sample in samples if sample.error)
    return {
        "complete": planned > 0 and not lost,
        "rate": {
            "asked": round(planned / seconds, 3),
            "held": round(in_time / seconds, 3),
            "held_ratio": in_time / planned if planned else 0.0,
        },
        "requests": {
            "planned": planned,
            "due": len(due),
            "answered": answered,
            "not_sent": sum(1 for sample in due if sample.error == NOT_SENT),
            "repeated": len(samples) - len(due),
            "failed": failed,
        },
        "error_rate": failed / len(samples) if samples else 0.0,
        "latency_ms": percentiles([sample.latency_ms for sample in samples]),
        "response_ms": percentiles([sample.response_ms for sample in samples if sample.status]),
        "by_request": summarize_requests(samples),
        "outcomes": count(sample.outcome for sample in samples),
        "status_codes": count(str(sample.status) for sample in samples if sample.status),
        "errors": count(sample.error for sample in samples),
    }


def summarize_requests(samples: Iterable[Sample]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.request].append(sample)
    return {
        name: {
            "count": len(group),
            "failed": sum(1 for sample in group if sample.error),
            "latency_ms": percentiles([sample.latency_ms for sample in group]),
        }
        for name, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    }


def count(values: Iterable[str]) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first, without empty ones."""
    return dict(Counter(value for value in values if value).most_common())
