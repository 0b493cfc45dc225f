"""Verify the signed checkpoints in the table and in the file outside: their signatures, and that both are equal.

Both are read in parallel, in the order of their ids, so neither has to fit into memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Min, QuerySet

from alerts_audit.models import Checkpoint
from alerts_audit.seal.anchor import CheckpointFile, Entry
from alerts_audit.seal.canonical import utc_text
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.standalone import Invalid, Note
from alerts_audit.seal.verify.report import Report, plural
from alerts_audit.seal.verify.rows import get_settled

# A checkpoint this young may not be in the file yet.
GRACE = timedelta(minutes=5)
PAGE = 1000


@dataclass(frozen=True)
class Claim:
    """A root that a trusted key has signed for the first `size` leaves."""

    subject: str
    size: int
    root: bytes
    frontier: Frontier | None = None  # the frontier to continue from if the leaves lead elsewhere


@dataclass
class CheckpointCheck:
    """A check of the checkpoints from `base` to `last`, the newest one when the verification began."""

    report: Report
    trust: Trust
    file: CheckpointFile
    base: Checkpoint | None
    last: Checkpoint
    now: datetime

    def claims(self) -> Iterator[Claim]:
        """Yield the claims in the order of their ids, and report findings on the way."""
        rows, entries = self._rows(), self._entries()
        row, entry = next(rows, None), next(entries, None)
        absent: list[Checkpoint] = []
        while row is not None or entry is not None:
            if entry is None or (row is not None and row.pk < entry.id):
                assert row is not None
                absent.append(row)
                yield from self._claims(row, None)
                row = next(rows, None)
            elif row is None or entry.id < row.pk:
                yield from self._claims(None, entry)
                entry = next(entries, None)
            else:
                self._say_absent(absent)
                yield from self._claims(row, entry)
                row, entry = next(rows, None), next(entries, None)
        self._say_absent([row for row in absent if row.at < self.now - GRACE])

    # --- One of them ---------------------------------------------------------------------------------------

    def _claims(self, row: Checkpoint | None, entry: Entry | None) -> Iterator[Claim]:
        if row is not None:
            self.report.counts["checkpoints"] += 1
            yield from self._row_claim(row)
        if entry is not None:
            self.report.counts["checkpoints in the file"] += 1
            if row is None or row.note != entry.note:
                yield from self._entry_claim(entry, row)

    def _row_claim(self, row: Checkpoint) -> Iterator[Claim]:
        subject = f"checkpoint {row.pk}"
        try:
            note = Note.parse(row.note)
            signer = self.trust.check(note)
        except Invalid as error:
            self.report.find("checkpoint_signature", subject, f"{error}")
            return
        frontier = None
        try:
            frontier = Frontier(row.size, row.frontier)
            said = (note.size, note.root, f"time {utc_text(row.at)}" in note.extensions, frontier.root())
            if said != (row.size, bytes(row.root), True, note.root) or row.settled != get_settled(row):
                raise Invalid
            if row.key_id != signer.id.hex() or row.public_key not in (None, str(signer)):
                raise Invalid
        except Invalid:
            frontier = None
            self.report.find("checkpoint_row", subject, "the row differs from its signed note")
        yield Claim(subject, note.size, note.root, frontier)

    def _entry_claim(self, entry: Entry, row: Checkpoint | None) -> Iterator[Claim]:
        subject = f"checkpoint {entry.id} of the file"
        try:
            note = Note.parse(entry.note)
            self.trust.check(note)
        except Invalid as error:
            self.report.find("file_signature", subject, f"{error}")
            return
        if row is not None:
            self.report.find("checkpoint_differs", subject, "the database has another one of that number")
        else:
            what = f"the database has none of that number; it covers {note.size} leaves"
            if note.size > self.last.size:
                what += f", and there are {self.last.size}: the tail was cut"
            self.report.find("checkpoint_missing", subject, what)
        if note.size <= self.last.size:
            yield Claim(subject, note.size, note.root)

    # --- Where they come from ------------------------------------------------------------------------------

    def _rows(self) -> Iterator[Checkpoint]:
        first = self.base.pk if self.base else 0
        size = -1
        for row in in_pages(Checkpoint.objects.filter(pk__gte=first, pk__lte=self.last.pk)):
            if row.size < size:
                self.report.find(
                    "checkpoint_order", f"checkpoint {row.pk}", f"it has {row.size} leaves, fewer than before"
                )
            size = max(size, row.size)
            yield row

    def _entries(self) -> Iterator[Entry]:
        """Yield the entries of the file in order, each once, except those that were sealed after the start."""
        first = self.base.pk if self.base else 0
        before, torn, late = 0, b"", 0
        for number, line, entry in self.file.lines():
            if torn and not line.startswith(torn):
                self.report.find("file_line", f"line {number - 1} of the checkpoint file", "it is no checkpoint")
            torn = b""
            if entry is None:
                torn = line.rstrip(b"\n")
                continue
            if entry.id <= before:
                self.report.find("file_order", f"line {number} of the checkpoint file", "it is out of order")
                continue
            before = entry.id
            if entry.id < first or (entry.id > self.last.pk and self._is_new(entry)):
                continue
            late += self._is_late(entry)
            yield entry
        if not before:
            self.report.find(
                "file_missing",
                f"the checkpoint file {self.file.path}",
                "it is missing or empty: without a copy outside of the database, a cut tail cannot be detected",
            )
        if late:
            self.report.remarks.append(
                f"{late} checkpoints were written to the file more than {GRACE.seconds // 60} minutes after they were"
                " signed: the file is no independent witness of them."
            )

    def _is_new(self, entry: Entry) -> bool:
        return Checkpoint.objects.filter(pk=entry.id, note=entry.note).exists()

    @staticmethod
    def _is_late(entry: Entry) -> bool:
        times = [line.removeprefix("time ") for line in entry.note.split("\n") if line.startswith("time ")]
        try:
            return datetime.fromisoformat(entry.written_at) - datetime.fromisoformat(times[0]) > GRACE
        except (ValueError, IndexError, TypeError):
            return True

    def _say_absent(self, rows: list[Checkpoint]) -> None:
        """Report the checkpoints of the table that the file lacks, and empty `rows`."""
        if rows and self.report.counts["checkpoints in the file"]:
            subject = plural("checkpoint", rows[0].pk, rows[-1].pk)
            what = "not in the checkpoint file: from there on, nothing outside of the database confirms the log"
            self.report.find("file_lacks", subject, what)
        rows.clear()


def checkpoint_by(moment: datetime) -> Checkpoint | None:
    """Return the last checkpoint before the first one that is later than `moment`.

    If the clock was set back, this is an older one than necessary.
    """
    later = Checkpoint.objects.filter(at__gt=moment).aggregate(first=Min("id"))["first"]
    before = Checkpoint.objects.filter(pk__lt=later) if later is not None else Checkpoint.objects.all()
    return before.order_by("-id").first()


def in_pages(rows: QuerySet[Checkpoint]) -> Iterator[Checkpoint]:
    """Yield rows by id, a bounded number in memory."""
    page = list(rows.order_by("id")[:PAGE])
    while page:
        yield from page
        page = list(rows.filter(pk__gt=page[-1].pk).order_by("id")[:PAGE])
