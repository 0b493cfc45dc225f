"""Line and area plots as inline SVG; report.html draws them, and page.html colours them.

Places are percentages of the plot, so it has any width: only lines and areas stretch, texts do not.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, groupby
from typing import NamedTuple

TICKS = 5
COLOURS = 6
# A limit above this multiple of the highest value would flatten the lines: it is outside of the plot.
FAR = 3


class Tick(NamedTuple):
    at: float
    text: str


class Series(NamedTuple):
    """A line or an area; `colour` is its number in page.html."""

    name: str
    colour: int
    path: str


@dataclass
class Plot:
    """The geometry of one plot. A `limit` at a negative place is above the plot."""

    title: str
    unit: str
    filled: bool
    series: list[Series] = field(default_factory=list)
    x_ticks: list[Tick] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)
    marks: list[Tick] = field(default_factory=list)
    limit: Tick | None = None
    empty: str = ""  # the sentence instead of a plot without data

    def mark(self, texts: Mapping[float, str], seconds: float) -> None:
        """Mark these seconds, such as the beginnings of steps."""
        self.marks = [Tick(x(at, seconds), text) for at, text in texts.items()]


def line_plot(
    title: str,
    unit: str,
    times: Sequence[float],
    lines: Mapping[str, Sequence[float | None]],
    seconds: float,
    *,
    limit: tuple[str, float] | None = None,
) -> Plot:
    highest = max((value for values in lines.values() for value in values if value is not None), default=0.0)
    if limit and limit[1] <= FAR * highest:
        highest = max(highest, limit[1])
    plot, top = start(title, unit, seconds, highest, filled=False)
    plot.limit = Tick(y(limit[1], top), limit[0]) if limit else None
    for colour, (name, values) in enumerate(lines.items()):
        values_at = zip(times, values, strict=True)
        points = [(x(at, seconds), None if value is None else y(value, top)) for at, value in values_at]
        plot.series.append(Series(name, colour % COLOURS, " ".join(line(points))))
    return plot


def area_plot(
    title: str,
    unit: str,
    times: Sequence[float],
    areas: Mapping[str, Sequence[float]],
    seconds: float,
    *,
    empty: str,
    colours: Mapping[str, int] | None = None,
) -> Plot:
    """Return the areas on top of each other; `colours` are those of names that always have the same one."""
    totals = [sum(values) for values in zip(*areas.values(), strict=True)] if areas else []
    plot, top = start(title, unit, seconds, max(totals, default=0.0), filled=True)
    plot.empty = "" if any(totals) else empty
    below = [0.0] * len(times)
    fixed = colours or {}
    free = cycle(sorted({*range(COLOURS)} - {*fixed.values()}))
    for name, values in areas.items():
        above = [low + value for low, value in zip(below, values, strict=True)]
        upper = [(x(at, seconds), y(value, top)) for at, value in zip(times, above, strict=True)]
        lower = [(x(at, seconds), y(value, top)) for at, value in zip(times, below, strict=True)]
        path = "M" + "L".join(point(place) for place in [*upper, *reversed(lower)]) + "Z"
        plot.series.append(Series(name, fixed[name] if name in fixed else next(free), path))
        below = above
    return plot


def start(title: str, unit: str, seconds: float, highest: float, *, filled: bool) -> tuple[Plot, float]:
    """Return a plot with its axes, and the value at its upper edge."""
    plot = Plot(title, unit, filled)
    step = nice_step(highest or 1.0)
    top = step * max(1, math.ceil((highest or 1.0) / step))
    plot.y_ticks = [Tick(y(value, top), number(value)) for value in count_up(step, top)]
    clock = in_minutes if seconds >= 60 else in_seconds
    plot.x_ticks = [Tick(x(at, seconds), clock(at)) for at in count_up(nice_seconds(seconds), seconds)]
    return plot, top


def line(points: Iterable[tuple[float, float | None]]) -> Iterator[str]:
    """Return one subpath for each run of values; a single value becomes a dot."""
    for present, group in groupby(points, lambda place: place[1] is not None):
        if present:
            places = [point((across, up or 0.0)) for across, up in group]
            yield "M" + "L".join(places if len(places) > 1 else places * 2)


def point(place: tuple[float, float]) -> str:
    return f"{place[0]:.2f},{place[1]:.2f}"


def x(at: float, seconds: float) -> float:
    return 100 * min(1.0, at / seconds)


def y(value: float, top: float) -> float:
    return 100 * (1 - value / top)


def count_up(step: float, end: float) -> list[float]:
    return [step * index for index in range(int(end / step + 1e-9) + 1)]


def nice_step(highest: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that gives about TICKS of them."""
    raw = highest / TICKS
    power = 10 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw)


def nice_seconds(seconds: float) -> float:
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
    return next((step for step in steps if seconds / step <= 8), 4 * 3600)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def in_seconds(at: float) -> str:
    return f"{at:.0f} s"


def in_minutes(at: float) -> str:
    return f"{at // 60:.0f}:{at % 60:02.0f}"
