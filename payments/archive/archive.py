"""`archive()`: export the payments at rest, read the export again, record it, then drop what it holds.

Each step is durable before the next begins. Nothing is dropped before the file was read again and its hash is in the
database. After a crash, another call continues. All of it runs as the owner of the schema.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

from django.db import connections
from django.utils import timezone

from fintech.archive_files import file_sha256
from fintech.errors import DATABASE_ERRORS
from payments.archive import files
from payments.archive.drop import PART, drop
from payments.archive.selection import Selection
from payments.models import Archive, ArchivedPart

Progress = Callable[[str, int, int], None]

ARCHIVE_LOCK = 0x7061792D61726368  # "pay-arch", for pg_try_advisory_lock


class ArchiveError(Exception):
    """The reason why nothing (more) was dropped, in one sentence."""


@dataclass(frozen=True)
class Result:
    """The numbers of payments: in the file, dropped from it, and not at rest. `archive` is None after a dry run."""

    payments: int
    dropped: int
    stays: int
    archive: Archive | None = None


def archive(
    *, before: datetime, directory: Path, by: str, progress: Progress, dry_run: bool = False
) -> tuple[list[Archive], Result | None]:
    """Archive the payments at rest before a time into a file in `directory`.

    Return the archives of interrupted runs that were completed, and the result, or None if there is no such payment.
    Raise ArchiveError, Invalid or OSError.
    """
    if before > timezone.now():
        raise ArchiveError("Nothing is archived, because --before is in the future.")
    with _one_run():
        completed = [] if dry_run else list(_complete(directory, progress))
        selection = Selection.find(before)
        lines = _with_progress(selection, progress)
        first = next(lines, None)
        if dry_run:
            found = sum(1 for _ in lines) + (first is not None)
            return completed, Result(found, 0, selection.stays)
        if first is None:
            return completed, None
        made = _export(selection, chain([first], lines), directory, by, progress)
        dropped = drop(made, directory / made.file_name, progress)
        return completed, Result(made.payments, dropped, selection.stays, made)


@contextmanager
def _one_run() -> Iterator[None]:
    """Check that this role may delete and that no other run is active. The lock ends with the session at the latest."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('payments_event', 'DELETE')")
        if not cursor.fetchone()[0]:
            raise ArchiveError("DATABASE_OWNER_URL must lead to the owner of the schema.")
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [ARCHIVE_LOCK])
        if not cursor.fetchone()[0]:
            raise ArchiveError("Another run is archiving payments.")
        cursor.execute("SET statement_timeout = '10min'")
        try:
            yield
        finally:
            with suppress(*DATABASE_ERRORS):
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ARCHIVE_LOCK])  # at once: a closed session may linger
            connections["owner"].close()


def _with_progress(selection: Selection, progress: Progress) -> Iterator[bytes]:
    for line in selection.lines():
        progress("examined events", selection.event, selection.last_event)
        yield line


def _export(selection: Selection, lines: Iterator[bytes], directory: Path, by: str, progress: Progress) -> Archive:
    """Write the file, read it again, and record it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = _free_name(directory, selection.before)
    files.write(path, files.Header(selection.before, selection.last_event), lines)
    progress("reading the export", 0, 1)
    header, contents = files.check(path)
    return Archive.objects.using("owner").create(
        before=header.before,
        last_event=header.last_event,
        payments=contents.counts["payments"],
        file_name=path.name,
        file_sha256=file_sha256(path),
        contents=contents.as_json(),
        by=by,
    )


def _free_name(directory: Path, before: datetime) -> Path:
    """Return a name that no file and no archive has. A file without an archive is left from an interrupted run."""
    taken = set(Archive.objects.using("owner").values_list("file_name", flat=True))
    taken |= {path.name for path in directory.iterdir()}
    number = 1
    while (name := f"payments-before-{before:%Y-%m-%d}-{number}.jsonl.gz") in taken:
        number += 1
    return directory / name


def _complete(directory: Path, progress: Progress) -> Iterator[Archive]:
    """Drop what interrupted runs have left. Only the newest archive can be incomplete."""
    newest = Archive.objects.using("owner").order_by("-id").first()
    if newest is None:
        return
    done = ArchivedPart.objects.using("owner").filter(archive=newest).count()
    if done * PART >= newest.payments:
        return
    path = directory / newest.file_name
    if not path.exists() or file_sha256(path) != bytes(newest.file_sha256):
        raise ArchiveError(f"{path} is not the file of {newest}: restore it before its rows are dropped.")
    drop(newest, path, progress)
    yield newest
