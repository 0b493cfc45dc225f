"""Which range of the log may go into an archive, and which of its rows must stay."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from alerts_audit.models import Archive, Checkpoint, Gap, Input, Leaf
from alerts_audit.seal.archive import files
from alerts_audit.seal.canonical import KINDS, Kind
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.standalone import Invalid
from alerts_audit.seal.verify.checkpoints import checkpoint_by, in_pages
from alerts_audit.seal.verify.leaves import body_groups, read_bodies, read_rows

CHUNK = 2000  # leaves

# Small, and people's: they stay, with their leaves.
ALWAYS_KEPT = (Leaf.Kind.REVIEW, Leaf.Kind.ARCHIVE)

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
"""  # noqa: S608


@dataclass
class Range:
    """Leaves `first` to `end - 1`, and those below `first` that an earlier archive kept and that may go now."""

    base: Checkpoint | None  # of `first` leaves
    last: Checkpoint  # of `end` leaves
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
        """Leaves whose rows must stay: reviews and archives, open gaps, what the projector has not used by then."""
        values: dict[str, Any] = {"last_input": self.last_input, "always": list(ALWAYS_KEPT), "end": self.end}
        for start, stop in chunks(0 if self.earlier else self.first, self.end):
            with connection.cursor() as cursor:
                cursor.execute(STAYS, {**values, "start": start, "stop": stop})
                for number, kind, ref, digest in cursor.fetchall():
                    yield number, kind, ref, bytes(digest)

    def lines(self, stays: Container[int]) -> Iterator[dict[str, Any]]:
        """For the file: the range's rows, its checkpoints where they were signed, and the earlier rows that go."""
        for rows in leaf_rows([number for number in self.earlier if number not in stays]):
            yield from rows
        notes = self._notes()
        note = next(notes, None)
        for start, stop in chunks(self.first, self.end):
            for rows in leaf_rows(list(range(start, stop))):
                for line in rows:
                    while note is not None and note[1] <= line["number"]:
                        yield {"checkpoint": note[0], "note": note[2]}
                        note = next(notes, None)
                    yield line
        while note is not None:
            yield {"checkpoint": note[0], "note": note[2]}
            note = next(notes, None)

    def _notes(self) -> Iterator[tuple[int, int, str]]:
        for row in in_pages(Checkpoint.objects.filter(pk__gt=self.base.pk if self.base else 0, pk__lte=self.last.pk)):
            yield row.pk, row.size, row.note


def chunks(first: int, end: int) -> Iterator[tuple[int, int]]:
    for start in range(first, end, CHUNK):
        yield start, min(start + CHUNK, end)


def leaf_rows(numbers: list[int]) -> Iterator[list[dict[str, Any]]]:
    """The lines of these leaves, in order, no more bodies at once than memory should hold."""
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
    """What was sealed before that time and is not archived; None if there is nothing."""
    archived = Archive.objects.order_by("-id").first()
    base = checkpoint_of(archived) if archived else None
    last = checkpoint_by(before - timedelta(microseconds=1))
    if last is None or last.size <= (base.size if base else 0):
        return None
    last = Checkpoint.objects.filter(size=last.size).order_by("id")[0]  # of those without news in between, the first
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT coalesce(max(ref), %s) FROM {Leaf._meta.db_table} WHERE kind = 'input' AND number < %s",  # noqa: S608
            [archived.last_input if archived else 0, last.size],
        )
        (last_input,) = cursor.fetchone()
    return Range(base, last, last_input, [number for number, _ in archived.kept] if archived else [])


def checkpoint_of(archive: Archive) -> Checkpoint:
    """The one where the archive ends, and what is left begins. Raises Invalid if it is gone."""
    found = Checkpoint.objects.filter(size=archive.end_leaf).order_by("id").first()
    if found is None:
        raise Invalid(f"the checkpoint at the end of {archive} is gone: run verify_audit")
    return found
