"""The checkpoints outside the database: AUDIT_DIR/checkpoints, a JSON object a line, which only grows.

Who cuts or changes the log in the database can't change this file along with it, if it is kept where they have no
rights, or copied there. A line that a crash tore is the beginning of the next whole line: readers step over it.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alerts_audit.seal.canonical import utc_text
from alerts_audit.seal.keys import SealError, audit_dir, locked

TAIL = 64 * 1024  # more than any line


@dataclass(frozen=True)
class Entry:
    """`id` is the checkpoint's in the database; `written_at` says when it came into the file."""

    id: int
    note: str
    written_at: str

    def line(self) -> bytes:
        return json.dumps(vars(self), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "Entry | None":
        """None for what is no entry."""
        try:
            found = json.loads(line)
            return cls(int(found["id"]), str(found["note"]), str(found["written_at"]))
        except (ValueError, KeyError, TypeError):
            return None


class CheckpointFile:
    def __init__(self, path: Path | None = None) -> None:
        self.path = path or audit_dir() / "checkpoints"

    def last(self) -> Entry | None:
        """The last whole entry; None if there is nothing yet. Raises SealError if the end is no checkpoints."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL))
                tail = file.read()
        except FileNotFoundError:
            return None
        found = [entry for line in tail.split(b"\n") if (entry := Entry.parse(line)) is not None]
        if not found and size > TAIL:
            raise SealError(f"The end of {self.path} holds no checkpoint: move the file away, and keep it.")
        return found[-1] if found else None

    def append(self, notes: Iterable[tuple[int, str]]) -> list[Entry]:
        """Write these (id, note) down, durably, those that are not there yet; ids rise. Returns what was written."""
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
            if file.seek(0, os.SEEK_END) and not self._ends_whole(file.fileno()):
                lines = b"\n" + lines  # a crash tore the last line: leave it, and begin a new one
            left = memoryview(lines)
            while left:
                left = left[file.write(left) or 0 :]
            os.fsync(file.fileno())
        if began:
            directory = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    @staticmethod
    def _ends_whole(descriptor: int) -> bool:
        return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1) == b"\n"

    def lines(self) -> Iterator[tuple[int, bytes, Entry | None]]:
        """Line number, the line, and the entry that it is, if it is one. Nothing if there is no file."""
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    yield number, line, Entry.parse(line)
        except FileNotFoundError:
            return
