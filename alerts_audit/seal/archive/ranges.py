"""Select the range of the log to archive, and the rows of it that must stay."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import merge
from operator import itemgetter
from typing import Any

from alerts_audit.models import Archive, Checkpoint, Gap, Input, Leaf
from alerts_audit.seal.archive import files
from alerts_audit.seal.canonical import KINDS, Kind
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.standalone import Invalid
from alerts_audit.seal.verify.checkpoints import checkpoint_by, in_pages
from alerts_audit.seal.verify.leaves import body_groups, read_bodies, read_rows
from fintech.database.sql import fetch_all, fetch_one
from fintech.evidence import SEALED

CHUNK = 2000  # leaves

# Small tables, written by people or by other apps: they stay, with their leaves.
ALWAYS_KEPT = (Leaf.Kind.REVIEW, Leaf.Kind.ARCHIVE, *(one.name for one in SEALED))

STAYS = f"""
SELECT leaf.number, leaf.kind, leaf.ref, leaf.hash FROM {Leaf._meta.db_table} AS leaf
WHERE leaf.number >= %(start)s AND leaf.number < %(stop)s AND (
    leaf.kind = ANY(%(always)s)
    OR leaf.kind = 'delivery' AND NOT EXISTS (
        SELECT FROM {Input._meta.db_table} AS used WHERE used.delivery_id = leaf.ref AND used.number <= %(last_input)s)
    OR leaf.kind = 'observation' AND NOT EXISTS (
        SELECT FROM {Input._meta.db_table} AS used
        WHERE used.observation_id = leaf.ref AND used.number <= %(last_input)s)
    OR leaf.kind = 'gap' AND NOT EXISTS (
        SELECT FROM {Gap._meta.db_table} AS closing JOIN {Leaf._meta.db_table} AS other
        ON other.kind = 'gap' AND other.number < %(end)s AND other.ref = CASE
            WHEN closing.id = leaf.ref THEN closing.closes_id ELSE closing.id END
        WHERE closing.closes_id IS NOT NULL AND (closing.id = leaf.ref OR closing.closes_id = leaf.ref))
)
ORDER BY leaf.number
"""  # noqa: S608 - of our own names


@dataclass
class Range:
    """Leaves `first` to `end - 1`, and those that an earlier archive kept and that can be archived now."""

    base: Checkpoint | None  # frontier of `first` leaves
    last: Checkpoint  # frontier of `end` leaves
    last_input: int
    earlier: list[int] = field(default_factory=list)  # leaves that an earlier archive kept

    @property
    def first(self) -> int:
        return self.base.size if self.base else 0

    @property
    def end(self) -> int:
        return self.last.size

    @property
    def frontier(self) -> Frontier:
        return Frontier(self.base.size, self.base.frontier) if self.base else Frontier()

    def stays(self) -> Iterator[tuple[int, str, int, bytes]]:
        """Yield the leaves whose rows must stay: reviews, archives, open gaps, and inputs not used yet."""
        values: dict[str, Any] = {"last_input": self.last_input, "always": list(ALWAYS_KEPT), "end": self.end}
        for start, stop in chunks(0 if self.earlier else self.first, self.end):
            for number, kind, ref, digest in fetch_all(STAYS, {**values, "start": start, "stop": stop}):
                yield number, kind, ref, bytes(digest)

    def lines(self, stays: Container[int]) -> Iterator[dict[str, Any]]:
        """Yield the lines of the file: rows and checkpoints in order, and earlier rows that are archived now."""
        for rows in leaf_rows([number for number in self.earlier if number not in stays]):
            yield from rows
        # A checkpoint comes before the row with the number of its size, which is the first one that it does not cover.
        yield from (line for _, line in merge(self._notes(), self._rows(), key=itemgetter(0)))

    def _notes(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in in_pages(Checkpoint.objects.filter(pk__gt=self.base.pk if self.base else 0, pk__lte=self.last.pk)):
            yield row.size, {"checkpoint": row.pk, "note": row.note}

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for start, stop in chunks(self.first, self.end):
            for rows in leaf_rows(list(range(start, stop))):
                for line in rows:
                    yield line["number"], line


def chunks(first: int, end: int) -> Iterator[tuple[int, int]]:
    for start in range(first, end, CHUNK):
        yield start, min(start + CHUNK, end)


def leaf_rows(numbers: list[int]) -> Iterator[list[dict[str, Any]]]:
    """Yield the lines of these leaves in order, with a limited number of bodies in memory."""
    leaves = Leaf.objects.filter(number__in=numbers).order_by("number").values_list("number", "kind", "ref")
    found: dict[tuple[str, int], tuple[Any, ...]] = {}
    for kind in KINDS.values():
        rows = read_rows(kind, [ref for _, name, ref in leaves if name == kind.name])
        found |= {(kind.name, ref): row for ref, row in rows.items()}
    sizes = {number: _size(KINDS[name], found.get((name, ref))) for number, name, ref in leaves}
    for group in body_groups(sizes):
        wanted = set(group)
        yield [
            files.row_line(number, KINDS[name].document(found[name, ref][: len(KINDS[name].columns)]), body)
            for number, name, ref, body in _with_bodies([leaf for leaf in leaves if leaf[0] in wanted])
            if (name, ref) in found
        ]


def _size(kind: Kind, row: tuple[Any, ...] | None) -> int:
    return row[-1] if row is not None and kind.body else 0


def _with_bodies(leaves: list[tuple[int, str, int]]) -> Iterator[tuple[int, str, int, bytes | None]]:
    bodies: dict[tuple[str, int], bytes] = {}
    for kind in KINDS.values():
        refs = [ref for _, name, ref in leaves if name == kind.name]
        if kind.body and refs:
            bodies |= {(kind.name, ref): body for ref, body in read_bodies(kind, refs)}
    for number, name, ref in leaves:
        yield number, name, ref, bodies.get((name, ref))


def find_range(before: datetime) -> Range | None:
    """Return the range that was sealed before a time and is not archived, or None."""
    archived = Archive.objects.order_by("-id").first()
    base = get_checkpoint(archived) if archived else None
    last = checkpoint_by(before - timedelta(microseconds=1))
    if last is None or last.size <= (base.size if base else 0):
        return None
    # The first of several checkpoints without new rows in between.
    last = Checkpoint.objects.filter(size=last.size).order_by("id")[0]
    (last_input,) = fetch_one(
        f"SELECT coalesce(max(ref), %s) FROM {Leaf._meta.db_table} WHERE kind = 'input' AND number < %s",  # noqa: S608 - of our own names
        [archived.last_input if archived else 0, last.size],
    )
    return Range(base, last, last_input, [number for number, _ in archived.kept] if archived else [])


def get_checkpoint(archive: Archive) -> Checkpoint:
    """Return the checkpoint at the end of the archive. Raise Invalid if it is missing."""
    found = Checkpoint.objects.filter(size=archive.end_leaf).order_by("id").first()
    if found is None:
        raise Invalid(f"the checkpoint at the end of {archive} is missing: run verify_audit")
    return found
