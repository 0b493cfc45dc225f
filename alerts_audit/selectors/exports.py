"""Exports of a filtered list, newest first: CSV for people, JSON lines for programs.

They are read in pages, so memory does not grow with the number of episodes, and no statement takes long. New episodes
are not included.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from alerts_audit.selectors import types
from alerts_audit.selectors.criteria import Criteria
from alerts_audit.selectors.episode_pages import page_of_episodes
from alerts_audit.selectors.episodes import summarize_episodes
from alerts_audit.selectors.serializers import serialize_episode
from fintech.database.replica import read

CHUNK = 500
# Beginnings that a spreadsheet would run as a formula.
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")  # noqa: RUF001 - also their wide forms
BLANKS = ' \u00a0\u2007\u202f\u200b\u3000\ufeff"'
# Readers of another locale split at semicolons and tabs, and some at line ends inside quotes: a cell of theirs begins
# there. The match ends where it needs an apostrophe.
INNER_FORMULA = re.compile(r'[;\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029][\s\u200b\ufeff"]*(?=[=+\-@＝＋－＠])')  # noqa: RUF001 - these characters are meant
COLUMNS = [
    "key",
    "state",
    "severity",
    "alertname",
    "cluster",
    "summary",
    "starts_at",
    "ends_at",
    "opened_at",
    "closed_at",
    "last_seen_at",
    "duration_seconds",
    "delivery_count",
    "acknowledged_by",
    "acknowledged_at",
    "noise_by",
    "noise_reason",
    "seal",
    "generator_url",
    "labels",
    "annotations",
]


def get_episodes(criteria: Criteria, *, with_reviews: bool) -> Iterator[types.Episode]:
    """Yield all episodes in the form of the API."""
    before: int | None = None
    while True:
        episodes, before = read(_chunk, criteria, before, with_reviews)
        yield from episodes
        if before is None:
            return


def _chunk(criteria: Criteria, before: int | None, with_reviews: bool) -> tuple[list[types.Episode], int | None]:
    """Return the next episodes, and the number below which those after them begin."""
    page = page_of_episodes(criteria, before=before, limit=CHUNK)
    summaries = summarize_episodes(page.rows)
    return [serialize_episode(summary, with_reviews=with_reviews) for summary in summaries], page.following


def json_lines(criteria: Criteria, *, with_reviews: bool) -> Iterator[bytes]:
    for episode in get_episodes(criteria, with_reviews=with_reviews):
        yield orjson.dumps(episode, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


class _Echo:
    """A file that returns what is written to it, in UTF-8 and safe for readers that split a line at other places."""

    def __init__(self) -> None:
        self._mark = "\ufeff"  # Excel recognises UTF-8 by it

    def write(self, line: str) -> bytes:
        mark, self._mark = self._mark, ""
        return (mark + INNER_FORMULA.sub(r"\g<0>'", line)).encode()


def csv_lines(criteria: Criteria, *, with_reviews: bool) -> Iterator[bytes]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for episode in get_episodes(criteria, with_reviews=with_reviews):
        yield writer.writerow(cells(episode))


def cells(episode: types.Episode) -> Iterable[str]:
    acknowledged, noise = episode["acknowledged"], episode["noise"]
    flat: dict[str, Any] = {
        **episode,
        "acknowledged_by": acknowledged and acknowledged["by"],
        "acknowledged_at": acknowledged and acknowledged["at"],
        "noise_by": noise and noise["by"],
        "noise_reason": noise and noise["reason"],
    }
    return [harmless(flat[name]) for name in COLUMNS]


def harmless(value: Any) -> str:
    """Return a cell that no spreadsheet runs as a formula: such a text gets an apostrophe in front."""
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    text = str(value)
    return f"'{text}" if text.lstrip(BLANKS).startswith(FORMULA) else text


FORMATS: dict[str, tuple[Callable[..., Iterator[bytes]], str]] = {
    "csv": (csv_lines, "text/csv; charset=utf-8"),
    "json": (json_lines, "application/x-ndjson"),
}
