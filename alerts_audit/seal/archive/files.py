"""The file of an archive: gzip, one JSON object per line.

    {"format": "alert-trail-archive/1", "first": 0, "end": 1000, "frontier": [...]}    the tree before it
    {"number": 0, "leaf": {"leaf": "delivery", ...}, "body": "<base64>"}               a row, as it was hashed
    {"checkpoint": 7, "note": "..."}                                                   signed at this size of the log
    {"end": 1000}

The frontier and the rows lead to the root of each of its checkpoints; the last one has `end` leaves. Rows with a number
below `first` were kept by an earlier archive, and are archived with this one.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.standalone import Invalid, Note, check_body, encode, leaf_hash
from fintech import archive_files

FORMAT = "alert-trail-archive/1"

Row = tuple[int, dict[str, Any], bytes | None]  # leaf number, document, body


def write(path: Path, *, first: int, end: int, frontier: Frontier, lines: Iterable[dict[str, Any]]) -> None:
    """Write the file completely and durably, or not at all."""
    header = {"format": FORMAT, "first": first, "end": end, "frontier": [one.hex() for one in frontier.hashes]}
    archive_files.write(path, (encode(line) for line in chain([header], lines, [{"end": end}])), overwrite=True)


def row_line(number: int, document: dict[str, Any], body: bytes | None) -> dict[str, Any]:
    line = {"number": number, "leaf": document}
    return line if body is None else {**line, "body": base64.b64encode(body).decode()}


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield all lines, including the first and the last. Raise Invalid if the archive is incomplete."""
    last: dict[str, Any] = {}
    try:
        for number, text in enumerate(archive_files.read_lines(path)):
            last = json.loads(text)
            if number == 0 and last.get("format") != FORMAT:
                raise Invalid(f"{path} is no archive")
            yield last
    except archive_files.Unreadable as error:
        raise Invalid(str(error)) from None
    except ValueError as error:
        raise Invalid(f"{path} cannot be read to its end: {error}") from None
    if set(last) != {"end"}:
        raise Invalid(f"{path} has no end")


@dataclass
class Checked:
    """The content of a checked file."""

    first: int
    end: int
    rows: int
    root: bytes
    frontier: Frontier


def check(path: Path, *, frontier: Frontier, trust: Trust, on_row: Callable[[Row], None] = lambda row: None) -> Checked:
    """Check the whole file: bodies against rows, rows against checkpoints' roots, and their signatures against `trust`.

    `frontier` describes the tree before it. Raise Invalid at the first mismatch.
    """
    tree, rows, signed = frontier.copy(), 0, -1
    header: dict[str, Any] = {}
    for line in read(path):
        if "format" in line:
            header = line
            if (line["first"], line["frontier"]) != (tree.size, [one.hex() for one in tree.hashes]):
                raise Invalid(f"{path} begins with leaf {line['first']}, or after another history")
        elif "leaf" in line:
            rows += 1
            on_row(_check_row(path, line, tree))
        elif "checkpoint" in line:
            signed = _check_note(path, line, tree, trust)
    if not tree.size == header["end"] == signed:
        raise Invalid(f"{path} ends with {tree.size} leaves, but its header says {header['end']}; {signed} are signed")
    return Checked(header["first"], tree.size, rows, tree.root(), tree)


def _check_row(path: Path, line: dict[str, Any], tree: Frontier) -> Row:
    number, document = line["number"], line["leaf"]
    if number >= tree.size:
        if number != tree.size:
            raise Invalid(f"{path} lacks leaf {tree.size}")
        tree.append(leaf_hash(encode(document)))
    body = base64.b64decode(line["body"]) if "body" in line else None
    if body is not None:
        try:
            check_body(document, hashlib.sha256(body).hexdigest())
        except Invalid as error:
            raise Invalid(f"{path}, leaf {number}: {error}") from None
    return number, document, body


def _check_note(path: Path, line: dict[str, Any], tree: Frontier, trust: Trust) -> int:
    note = Note.parse(line["note"])
    try:
        trust.check(note)
    except Invalid as error:
        raise Invalid(f"{path}, checkpoint {line['checkpoint']}: {error}") from None
    if (note.size, note.root) != (tree.size, tree.root()):
        raise Invalid(f"{path}: its rows do not lead to the root that checkpoint {line['checkpoint']} signed")
    return note.size
