"""The scorecard as one HTML page without scripts, with a timeline picture of each drill."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from loadtests.drill.scorecard import Score, minutes, read
from loadtests.page import render


class Stage(NamedTuple):
    """The period of a drill that ends with this stage; `colour` is its number in page.html."""

    name: str
    text: str
    colour: int


STAGES = [
    Stage("pending", "until the rule is pending", 5),
    Stage("firing", "pending, until it fires", 1),
    Stage("notified", "firing, until people are notified", 2),
    Stage("recorded", "notified, until the trail has it", 0),
]
# The pictures have one scale, except those of alerts that take longer.
SCALE = range(0, 26, 5)  # minutes


class Bar(NamedTuple):
    """The picture of a stage; the row is 100 wide."""

    colour: int
    start: float
    length: float
    title: str


@dataclass
class Row:
    """A drill and its picture. `shown` is the minutes of the picture, if they are not those of SCALE."""

    score: Score
    bars: list[Bar] = field(default_factory=list)
    bound: float | None = None
    shown: int | None = None

    @property
    def label(self) -> str:
        return f"{self.score.fault}: {', '.join(bar.title for bar in self.bars)}"


def write(folder: Path) -> None:
    """Write scorecard.html beside scorecard.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scorecard.html").write_text(html(read(folder).values()))


def html(scores: Iterable[Score]) -> str:
    rows = [make_row(score) for score in scores]
    proven = {row.score.alert for row in rows if row.score.recorded is not None}
    return render(
        "drill/scorecard.html",
        rows=rows,
        faults=len(rows),
        proven=len(proven),
        stages=STAGES,
        scale=SCALE,
        minutes=minutes,
    )


def make_row(score: Score) -> Row:
    """Return the stages until the alert was recorded, beside the bound."""
    row = Row(score)
    reached = [(stage, at) for stage in STAGES if (at := getattr(score, stage.name)) is not None]
    longest = math.ceil(max([at for _, at in reached] + [score.bound or 0]) / 60)
    if longest > SCALE[-1]:
        row.shown = longest
    scale = 100 / (60 * (row.shown or SCALE[-1]))
    start = 0.0
    for stage, at in reached:
        length = max(0.0, at - start)
        row.bars.append(Bar(stage.colour, start * scale, length * scale, f"{stage.name} after {minutes(at)} min"))
        start = max(start, at)
    row.bound = None if score.bound is None else min(99.7, score.bound * scale)
    return row
