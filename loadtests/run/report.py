"""load_report.html: one file without scripts and without references to other files."""

from collections.abc import Sequence
from typing import Any

from loadtests import page
from loadtests.run.plots import Plot, area_plot, line_plot
from loadtests.run.samples import Sample
from loadtests.run.timeline import make_timeline

# The colours of page.html: an outcome and an error have the same in each report.
OUTCOMES = {"succeeded": 4, "declined": 1, "failed": 2, "unknown": 3, "blocked": 5}
ERRORS = {"wrong answer": 2, "no answer": 3, "status 503": 1, "status 429": 5}


def render(summary: dict[str, Any], samples: Sequence[Sample]) -> str:
    return page.render("run/report.html", summary=summary, plots=make_plots(summary, samples))


def make_plots(summary: dict[str, Any], samples: Sequence[Sample]) -> list[Plot]:
    seconds = summary["seconds"]
    # The last end is that of a step which Ctrl-C ended.
    ends = [at + summary["step_seconds"] for at in step_starts(summary)] + [seconds]
    line = make_timeline(samples, seconds, ends)
    outcomes = {name: line.outcomes[name] for name in sorted(line.outcomes, key=[*OUTCOMES, *line.outcomes].index)}
    rates = line_plot("Rate asked and held", "requests/s", line.times, line.rates, seconds)
    rates.mark(step_starts(summary), seconds)
    return [
        rates,
        line_plot("Latency from the due time", "ms", line.times, line.latencies, seconds, limit=latency_limit(summary)),
        area_plot(
            "Outcomes of payments",
            "payments/s",
            line.times,
            outcomes,
            seconds,
            empty="No payment ended.",
            colours=OUTCOMES,
        ),
        area_plot("Errors", "requests/s", line.times, line.errors, seconds, empty="No request failed.", colours=ERRORS),
    ]


def step_starts(summary: dict[str, Any]) -> dict[float, str]:
    """Return the rates of a search for the limit, by the second at which each began."""
    steps = summary.get("steps", [])
    return {index * summary["step_seconds"]: f"{step['rps']:.0f}/s" for index, step in enumerate(steps)}


def latency_limit(summary: dict[str, Any]) -> tuple[str, float] | None:
    """Return the threshold of the 95th percentile with its name, if the test had one."""
    thresholds = [*summary["thresholds"], *(limit for step in summary.get("steps", []) for limit in step["thresholds"])]
    limits = [limit["limit"] for limit in thresholds if limit["name"] == "max_p95_ms"]
    return (f"p95 limit {limits[0]:,.0f}", limits[0]) if limits else None
