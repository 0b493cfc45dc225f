"""The checkpoints outside the database: AUDIT_DIR/checkpoints, one JSON object per line, append-only.

An attacker who changes the log in the database cannot change this file, if it is stored or copied where the attacker
has no rights. A line torn by a crash becomes the beginning of the next complete line; readers skip it.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alerts_audit.seal.canonical import utc_text
from alerts_audit.seal.keys import SealError, audit_dir, locked
from fintech.archive_files import sync_folder

TAIL = 64 * 1024  # more than any line


@dataclass(frozen=True)
class Entry:
    """A line of the file. `id` is the checkpoint's id in the database; `written_at` is the time of writing."""

    id: int
    note: str
    written_at: str

    def line(self) -> bytes:
        return json.dumps(vars(self), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "Entry | None":
        try:
            found = json.loads(line)
            return cls(int(found["id"]), str(found["note"]), str(found["written_at"]))
        except (ValueError, KeyError, TypeError):
            return None


class CheckpointFile:
    def __init__(self, path: Path | None = None) -> None:
        self.path = path or audit_dir() / "checkpoints"

    def last(self) -> Entry | None:
        """Return the last complete entry, if there is one. Raise SealError if the file ends with other content."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL))
                tail = file.read()
        except FileNotFoundError:
            return None
        found = [entry for line in tail.split(b"\n") if (entry := Entry.parse(line)) is not None]
        if not found and size > TAIL:
            raise SealError(f"The end of {self.path} holds no checkpoint: move the file elsewhere, and keep it.")
        return found[-1] if found else None

    def append(self, notes: Iterable[tuple[int, str]]) -> list[Entry]:
        """Append these (id, note) pairs durably, skipping those already present. Ids rise. Return the appended ones."""
        with locked(self.path.with_name(".checkpoints.lock")):
            last = self.last()
            now = utc_text(datetime.now(UTC))
            new = [Entry(number, note, now) for number, note in notes if last is None or number > last.id]
            if new:
                self._write(b"".join(entry.line() for entry in new))
            return new

    def _write(self, lines: bytes) -> None:
        began = not self.path.exists()
        with self.path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash tore the last line: keep it, and begin a new one
            left = memoryview(lines)
            while left:
                left = left[file.write(left) or 0 :]
            os.fsync(file.fileno())
        if began:
            sync_folder(self.path.parent)

    def lines(self) -> Iterator[tuple[int, bytes, Entry | None]]:
        """Yield each line with its number and its entry, or None as entry. Yield nothing without a file."""
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    yield number, line, Entry.parse(line)
        except FileNotFoundError:
            return
