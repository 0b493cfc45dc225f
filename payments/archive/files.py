"""The file of an archive: gzip, one JSON object per line.

    {"format": "payments-archive/1", "before": "2026-01-01T00:00:00+00:00", "last_event": 1000}
    {"payment": {...}, "events": [...], "legs": [...], "refunds": [...], ...}               a unit: rows as they were
    {"end": {"payments": 1, "events": 2, ..., "sums": {"EUR": {"fees": -19, ...}}, "sha256": "..."}}

The end states the number of rows, the sums of the legs per currency and account, and the SHA-256 of all lines before
it. So a file can be checked without a database.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from fintech import archive_files

FORMAT = "payments-archive/1"
COUNTED = [
    "events",
    "legs",
    "captures",
    "voids",
    "refunds",
    "disputes",
    "reviews",
    "dispute_responses",
    "webhook_events",
    "deliveries",
    "attempts",
]

Unit = dict[str, Any]


class Invalid(Exception):
    """A mismatch in a file, in one sentence."""


@dataclass
class Contents:
    """The end of a file, while its lines are written or read."""

    counts: Counter[str] = field(default_factory=Counter)
    sums: dict[str, Counter[str]] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, line: bytes, unit: Unit | None = None) -> None:
        self.digest.update(line + b"\n")
        if unit is None:
            return
        self.counts["payments"] += 1
        for name in COUNTED:
            self.counts[name] += len(unit[name] or ())
        for leg in unit["legs"] or ():
            self.sums.setdefault(leg["currency"], Counter())[leg["account"]] += leg["amount"]

    def as_json(self) -> dict[str, Any]:
        sums = {currency: dict(sorted(accounts.items())) for currency, accounts in sorted(self.sums.items())}
        counts = {name: self.counts[name] for name in ("payments", *COUNTED)}
        return {**counts, "sums": sums, "sha256": self.digest.hexdigest()}


@dataclass(frozen=True)
class Header:
    """The bounds of the selection."""

    before: datetime
    last_event: int


def write(path: Path, header: Header, units: Iterable[bytes]) -> None:
    """Write the file completely and durably, or not at all. Raises FileExistsError: it never replaces one."""
    archive_files.write(path, _lines(header, units), overwrite=False)


def _lines(header: Header, units: Iterable[bytes]) -> Iterator[bytes]:
    contents = Contents()
    first = {"format": FORMAT, "before": header.before.isoformat(), "last_event": header.last_event}
    contents.add(orjson.dumps(first))
    yield orjson.dumps(first)
    for line in units:
        contents.add(line, orjson.loads(line))
        yield line
    yield orjson.dumps({"end": contents.as_json()})


def read(path: Path) -> Iterator[Header | tuple[bytes, Unit] | Contents]:
    """Yield the header, each unit with its line, and the contents. Raise Invalid at the first mismatch.

    Nothing is certain before the last one came.
    """
    contents, end = Contents(), None
    try:
        for number, raw in enumerate(archive_files.read_lines(path)):
            line = raw.removesuffix(b"\n")
            document = orjson.loads(line)
            if number == 0:
                yield _header(path, document)
                contents.add(line)
            elif end is not None:
                raise Invalid(f"{path} goes on after its end")
            elif "end" in document:
                end = document["end"]
            else:
                _check_unit(document)
                contents.add(line, document)
                yield line, document
    except archive_files.Unreadable as error:
        raise Invalid(str(error)) from None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise Invalid(f"{path}, line {number + 1} is not valid: {error}") from None
    if end is None:
        raise Invalid(f"{path} has no end")
    if end != contents.as_json():
        raise Invalid(f"{path} does not hold what its end states")
    yield contents


def _header(path: Path, document: Any) -> Header:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Invalid(f"{path} is no archive of payments")
    return Header(datetime.fromisoformat(document["before"]), document["last_event"])


def _check_unit(unit: Unit) -> None:
    """Raise ValueError if a row belongs to another payment or event, or if a posting does not balance."""
    payment = unit["payment"]["id"]
    events = {event["id"] for event in unit["events"]}
    webhooks = {row["id"] for row in unit["webhook_events"] or ()}
    deliveries = {row["id"] for row in unit["deliveries"] or ()}
    balance: Counter[tuple[int, str]] = Counter()
    for leg in unit["legs"] or ():
        balance[leg["event_id"], leg["currency"]] += leg["amount"]
    strange = [
        any(row["transaction_id"] != payment for name in ("events", "legs", "refunds") for row in unit[name] or ()),
        any(leg["event_id"] not in events for leg in unit["legs"] or ()),
        any(row["journal_id"] not in events for row in unit["webhook_events"] or ()),
        any(row["event_id"] not in webhooks for row in unit["deliveries"] or ()),
        any(row["delivery_id"] not in deliveries for row in unit["attempts"] or ()),
    ]
    if any(strange):
        raise ValueError(f"payment {payment} has a row of another one")
    if any(balance.values()):
        raise ValueError(f"the legs of payment {payment} do not sum to zero")


def check(path: Path) -> tuple[Header, Contents]:
    """Read the whole file. Raise Invalid."""
    items = read(path)
    header = next(items)
    assert isinstance(header, Header)
    for item in items:
        if isinstance(item, Contents):
            return header, item
    raise Invalid(f"{path} has no end")


def units(path: Path) -> Iterator[tuple[bytes, Unit]]:
    """Yield each unit with its line."""
    return (item for item in read(path) if isinstance(item, tuple))


def parts(items: Iterable[tuple[bytes, Unit]], size: int) -> Iterator[list[tuple[bytes, Unit]]]:
    left = iter(items)
    while part := list(islice(left, size)):
        yield part
