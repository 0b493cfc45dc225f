"""The scorecard as one HTML page without scripts, with a timeline picture of each drill."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from loadtests.drill.scorecard import Score, minutes, read

# Stage -> colour of the period that ends with it.
COLOURS = {"pending": "#9aa5b1", "firing": "#e8a33d", "notified": "#d64545", "recorded": "#5b7db1"}
WIDTH, HEIGHT = 640, 18
# The pictures have one scale, except those of alerts that take longer.
SHOWN_SECONDS = 20 * 60
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .45rem .7rem; border-bottom: 1px solid #8884; vertical-align: middle; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.key span { display: inline-block; width: .8rem; height: .8rem; margin: 0 .35rem 0 1rem; border-radius: 2px; }
small { color: #888; }
svg { display: block; width: 100%; height: auto; }
"""


def write(folder: Path) -> None:
    """Write scorecard.html beside scorecard.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scorecard.html").write_text(html(read(folder).values()))


def html(scores: Iterable[Score]) -> str:
    scores = list(scores)
    proven = {score.alert for score in scores if score.recorded is not None}
    key = "".join(f'<span style="background:{colour}"></span>{stage}' for stage, colour in COLOURS.items())
    rows = "".join(row(score) for score in scores)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Scorecard of the drills</title><style>{STYLE}</style></head><body>
<h1>Scorecard of the drills</h1>
<p>{len(scores)} faults brought {len(proven)} alerts. Times are minutes of the rules' time, from the start of the fault;
the mark is the bound within which people must be notified. The pictures show 20 minutes, or more if an alert takes
longer.</p>
<p class="key">until{key}</p>
<table><thead><tr><th>Fault</th><th>Alert</th><th>Timeline</th><th>Notified</th><th>Recorded</th><th>Resolved</th></tr></thead>
<tbody>{rows}</tbody></table></body></html>
"""


def row(score: Score) -> str:
    alert = f"{escape(score.alert)}<br><small>{score.severity}</small>" if score.alert else "none, rightly"
    return (
        f"<tr><td>{escape(score.fault)}<br><small>{escape(score.made)}</small></td><td>{alert}</td>"
        f"<td>{timeline(score)}</td><td class=number>{minutes(score.notified)}</td>"
        f"<td class=number>{minutes(score.recorded)}</td>"
        f"<td class=number>{minutes(score.resolved)}</td></tr>\n"
    )


def timeline(score: Score) -> str:
    """Return a picture of the stages until the alert was recorded, beside the bound."""
    reached = [(stage, at) for stage in COLOURS if (at := getattr(score, stage)) is not None]
    if not reached:
        return ""
    shown = max(SHOWN_SECONDS, *(at for _, at in reached))
    scale = WIDTH / shown
    bars, start = "", 0.0
    for stage, at in reached:
        length = max(0.0, at - start)
        title = f"{stage} after {minutes(at)} min"
        bars += (
            f'<rect x="{start * scale:.1f}" y="2" width="{length * scale:.1f}" height="{HEIGHT - 4}"'
            f' fill="{COLOURS[stage]}"><title>{title}</title></rect>'
        )
        start = max(start, at)
    if score.bound is not None and score.bound <= shown:
        mark = min(WIDTH - 2, score.bound * scale)
        bars += (
            f'<rect x="{mark:.1f}" y="0" width="2" height="{HEIGHT}" fill="currentColor"><title>bound</title></rect>'
        )
    label = f"{score.fault}: {', '.join(f'{stage} {minutes(at)} min' for stage, at in reached)}"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label, quote=True)}">{bars}</svg>'
