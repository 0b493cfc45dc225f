"""Verify the rows against their leaves, and the leaves against the signed roots, in one pass over the log."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Max

from alerts_audit.models import Checkpoint, Leaf
from alerts_audit.seal.canonical import KINDS, Kind
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.verify.checkpoints import GRACE, Claim
from alerts_audit.seal.verify.report import Report, plural
from fintech.database.sql import fetch_all

CHUNK = 5000  # leaves
BODY_BYTES = 32 * 1024 * 1024  # read at once
MAX_NAMED = 5

Row = tuple[int, str, int, bytes]  # number, kind, ref, hash


class LeafCheck:
    """Walks from `frontier` to `end` leaves. It knows nothing of the leaves before."""

    def __init__(self, report: Report, frontier: Frontier, end: int) -> None:
        self.report, self.frontier, self.end = report, frontier, end
        self.first = self.proven = frontier.size
        self._broken = False  # a leaf is missing: no root can be computed until a checkpoint from which to continue
        # SHA-256 of bodies that do not match their row: the row that contains them, and the row that should.
        self._found: dict[bytes, str] = {}
        self._expected: dict[bytes, str] = {}
        self._late_rows = 0  # rows whose time is earlier than a checkpoint that lacks them
        self._late: list[str] = []  # the first of them

    def check(self, claims: Iterable[Claim]) -> None:
        leaves = self._leaves()
        for claim in claims:
            if claim.size < self.first:
                continue
            while self.frontier.size < claim.size and (leaf := next(leaves, None)) is not None:
                self._take(leaf)
            self._compare(claim)
        for leaf in leaves:
            self._take(leaf)
        self._say_swapped()
        self._say_late()

    # --- The tree ------------------------------------------------------------------------------------------

    def _take(self, leaf: Row) -> None:
        number, _, _, digest = leaf
        if number > self.frontier.size:
            subject = plural("leaf", self.frontier.size, number - 1)
            self.report.find("leaf_missing", subject, "missing: numbers must be dense")
            self._broken = True
            # The position is kept, so that later leaves keep their numbers, however large the hole is.
            self.frontier = Frontier(number, [b""] * number.bit_count())
        self.frontier.append(digest)

    def _compare(self, claim: Claim) -> None:
        if self.frontier.size < claim.size:
            if not self._broken:
                subject = plural("leaf", self.frontier.size, claim.size - 1)
                self.report.find("leaf_missing", subject, f"missing: {claim.subject} covers {claim.size} leaves")
            self._broken = True
            return  # there are no further leaves
        if self.frontier.size > claim.size:
            return  # its order was reported, or its size was passed
        if not self._broken and self.frontier.root() != claim.root:
            what = f"the present leaves differ from those that {claim.subject} signed"
            if self.proven == claim.size:
                what = f"the log's root is not the one that it signed for {claim.size} leaves"
                self.report.find("root_differs", claim.subject, what)
            else:
                self.report.find("root_differs", plural("leaf", self.proven, claim.size - 1), what)
        if claim.frontier is not None:
            self.frontier = claim.frontier.copy()
            self.proven, self._broken = claim.size, False

    # --- The rows ------------------------------------------------------------------------------------------

    def _leaves(self) -> Iterator[Row]:
        """Yield the leaves in order, and check their rows chunk by chunk."""
        start = self.first
        while start < self.end:
            self.report.progress("leaves", start - self.first, self.end - self.first)
            rows = fetch_all(
                f"SELECT number, kind, ref, hash FROM {Leaf._meta.db_table}"  # noqa: S608 - of our own names
                " WHERE number >= %s AND number < %s ORDER BY number LIMIT %s",
                [start, self.end, CHUNK],
            )
            leaves = [(number, kind, ref, bytes(digest)) for number, kind, ref, digest in rows]
            self.check_rows(leaves)
            yield from leaves
            start = leaves[-1][0] + 1 if leaves else self.end

    def check_rows(self, leaves: list[Row]) -> None:
        self.report.counts["leaves"] += len(leaves)
        for number, name, ref, _ in leaves:
            # The leaf's hash contains neither: a leaf that names no table would hide its row.
            if name not in KINDS:
                self.report.find(
                    "leaf_changed", f"leaf {number}", f"it belongs to {name!r} {ref}, but there is no such kind of row"
                )
        signed = signed_before([leaf[0] for leaf in leaves])
        for kind in KINDS.values():
            of_kind = {ref: (number, digest) for number, name, ref, digest in leaves if name == kind.name}
            if of_kind:
                rows = self._check_kind(kind, of_kind)
                self._note_late(kind, of_kind, rows, signed)

    def _check_kind(self, kind: Kind, leaves: dict[int, tuple[int, bytes]]) -> dict[int, tuple[Any, ...]]:
        rows = read_rows(kind, list(leaves), self._say_twice)
        for ref, (number, digest) in leaves.items():
            subject = f"{kind.name} {ref}"
            row = rows.get(ref)
            if row is None:
                self.report.find("row_missing", subject, f"it is sealed as leaf {number}, but missing")
            elif kind.hash(row[: len(kind.columns)]) != digest:
                self.report.find("row_changed", subject, f"it differs from what was sealed as leaf {number}")
        self.report.counts[f"rows: {kind.name}"] += len(rows)
        if kind.body:
            self._check_bodies(kind, rows)
        return rows

    def _note_late(
        self,
        kind: Kind,
        leaves: dict[int, tuple[int, bytes]],
        rows: dict[int, tuple[Any, ...]],
        signed: Sequence[tuple[int, datetime]],
    ) -> None:
        """Note rows that are older than a checkpoint without them. `signed`: its size and last time of signing."""
        if kind.name == Leaf.Kind.INPUT or not signed:  # an input has the time of its delivery
            return
        column = kind.columns.index(kind.at)
        for ref, (number, _) in leaves.items():
            place = bisect_right(signed, number, key=lambda one: one[0]) - 1
            if ref in rows and place >= 0 and rows[ref][column] < signed[place][1] - GRACE:
                self._late_rows += 1
                if len(self._late) < MAX_NAMED:
                    self._late.append(f"{kind.name} {ref}")

    def _say_late(self) -> None:
        if self._late:
            some = ", ".join(self._late) + (", ..." if self._late_rows > len(self._late) else "")
            self.report.remarks.append(
                f"Rows that are dated more than {GRACE.seconds // 60} minutes older than a checkpoint that lacks"
                f" them: {self._late_rows} ({some}). They were added later, or the clock was set back."
            )

    def _check_bodies(self, kind: Kind, rows: dict[int, tuple[Any, ...]]) -> None:
        columns = kind.columns
        for group in body_groups({ref: row[-1] for ref, row in rows.items()}):
            for ref, body in read_bodies(kind, group):
                fields = dict(zip(columns, rows[ref], strict=False))
                expected = bytes(fields.get("kept_sha256") or fields["sha256"])
                found = hashlib.sha256(body).digest()
                self.report.counts["bytes of bodies"] += len(body)
                if found != expected:
                    subject = f"{kind.name} {ref}"
                    self.report.find("body_changed", subject, "the SHA-256 of its body differs from the one in its row")
                    self._found[found], self._expected[expected] = subject, subject

    def _say_twice(self, kind: Kind, ref: int) -> None:
        self.report.find("row_twice", f"{kind.name} {ref}", "several rows have this number")

    def _say_swapped(self) -> None:
        for digest, subject in self._found.items():
            if (owner := self._expected.get(digest)) is not None:
                self.report.find("body_swapped", subject, f"it has the body of {owner}")


def signed_before(numbers: Sequence[int]) -> list[tuple[int, datetime]]:
    """Return the sizes of checkpoints before one of these leaves, rising, with their last times of signing."""
    if not numbers:
        return []
    checkpoints = Checkpoint.objects.filter(size__lte=max(numbers))
    newest = checkpoints.filter(size__lte=min(numbers)).aggregate(size=Max("size"))["size"] or 0
    sizes = checkpoints.filter(size__gte=newest).order_by("size").values_list("size")
    return list(sizes.annotate(at=Max("at")).values_list("size", "at"))


def read_rows(
    kind: Kind, refs: list[int], twice: Callable[[Kind, int], None] = lambda kind, ref: None
) -> dict[int, tuple[Any, ...]]:
    """Return rows by primary key, with the body's length. `twice` is called for keys that occur more than once."""
    length = f", octet_length({kind.body})" if kind.body else ""
    rows = fetch_all(f"SELECT {kind.select}{length} FROM {kind.table} WHERE {kind.key} = ANY(%s)", [refs])  # noqa: S608 - of our own names
    found: dict[int, tuple[Any, ...]] = {}
    for row in rows:
        if row[0] in found:
            twice(kind, row[0])
        found[row[0]] = row
    return found


def body_groups(sizes: dict[int, int]) -> Iterator[list[int]]:
    """Yield keys in groups whose bodies are together at most BODY_BYTES, unless a single one is larger."""
    group: list[int] = []
    total = 0
    for ref, size in sizes.items():
        if group and total + size > BODY_BYTES:
            yield group
            group, total = [], 0
        group.append(ref)
        total += size
    if group:
        yield group


def read_bodies(kind: Kind, refs: list[int]) -> list[tuple[int, bytes]]:
    rows = fetch_all(f"SELECT {kind.key}, {kind.body} FROM {kind.table} WHERE {kind.key} = ANY(%s)", [refs])  # noqa: S608 - of our own names
    return [(ref, bytes(body)) for ref, body in rows]
