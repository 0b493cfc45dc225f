"""load_report.html: one file without scripts and without references to other files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loadtests.run import plots
from loadtests.run.plots import Plot, area_plot, line_plot
from loadtests.run.samples import Sample
from loadtests.run.timeline import make_timeline

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(summary: dict[str, Any], samples: Sequence[Sample]) -> str:
    seconds = summary["seconds"]
    sizes = {"width": plots.WIDTH, "height": plots.HEIGHT, "left": plots.LEFT, "right": plots.WIDTH - plots.RIGHT}
    return TEMPLATES.get_template("report.html").render(
        summary=summary, plots=make_plots(samples, seconds), size=sizes, base=plots.HEIGHT - plots.BOTTOM
    )


def make_plots(samples: Sequence[Sample], seconds: float) -> list[Plot]:
    line = make_timeline(samples, seconds)
    return [
        line_plot("Rate asked and held", "requests/s", line.times, line.rates, seconds),
        line_plot("Latency from the due time", "ms", line.times, line.latencies, seconds),
        area_plot("Outcomes of payments", "payments/s", line.times, line.outcomes, seconds, empty="No payment ended."),
        area_plot("Errors", "requests/s", line.times, line.errors, seconds, empty="No request failed."),
    ]
