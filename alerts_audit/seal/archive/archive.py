"""`archive()`: export a sealed range, verify the export, record it in a signed checkpoint, then delete the range.

Each step is durable before the next begins. Nothing is deleted before the file was read again and a signed checkpoint
contains its hash. After a crash, another call continues.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import ProgrammingError

from alerts_audit.models import Archive, Leaf
from alerts_audit.projection.rebuild import ProjectionMismatch, carried_state
from alerts_audit.seal.anchor import CheckpointFile
from alerts_audit.seal.archive import files
from alerts_audit.seal.archive.drop import LEAVES, change, drop
from alerts_audit.seal.archive.ranges import Range, find_range
from alerts_audit.seal.keys import public_keys
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.verify.archives import is_signed, statement
from alerts_audit.seal.verify.checkpoints import CheckpointCheck
from alerts_audit.seal.verify.leaves import LeafCheck
from alerts_audit.seal.verify.report import Progress, Report
from alerts_audit.seal.verify.run import audit_lock, long_statements
from fintech.archive_files import file_sha256


class ArchiveError(Exception):
    """The reason why nothing (more) was deleted, in one sentence."""


@dataclass(frozen=True)
class Result:
    """The result of an archive run. `archive` is None after a dry run."""

    first: int
    end: int
    stays: int
    archive: Archive | None


def archive(*, before: datetime, directory: Path, by: str, progress: Progress, dry_run: bool = False) -> Result | None:
    """Archive the rows sealed before a time into a file in `directory`. Return None if there are none.

    Raise ArchiveError, Invalid or SealError. Rows are deleted only if a verified file contains them.
    """
    with long_statements(), audit_lock(shared=False):
        if not dry_run:
            _check_owner()
            _finish(directory, progress)
        gone = find_range(before)
        if gone is None:
            return None
        _verify(gone, progress)
        stays = [(number, digest.hex()) for number, _, _, digest in gone.stays()]
        if dry_run:
            return Result(gone.first, gone.end, len(stays), None)
        path = directory / f"alert-trail-{gone.first}-{gone.end - 1}.jsonl.gz"
        _export(gone, path, {number for number, _ in stays}, progress)
        carried = _carried(gone)
        made = Archive.objects.create(
            first_leaf=gone.first,
            end_leaf=gone.end,
            last_input=gone.last_input,
            file_name=path.name,
            file_sha256=file_sha256(path),
            carried=carried,
            kept=stays,
            by=by,
        )
        _finish_one(made, directory, progress)
        return Result(gone.first, gone.end, len(stays), made)


def _check_owner() -> None:
    """Check, before anything is written, that this role can delete rows at all."""
    try:
        change([LEAVES], lambda cursor: None)
    except ProgrammingError as error:
        raise ArchiveError(f"DATABASE_OWNER_URL must lead to the owner of the schema: {error}") from None


def _verify(gone: Range, progress: Progress) -> None:
    """Verify the range, so that only rows that match their seal are archived."""
    report = Report(progress)
    checkpoints = CheckpointCheck(report, _trust(gone), CheckpointFile(), gone.base, gone.last, gone.last.at)
    LeafCheck(report, gone.frontier, gone.end).check(checkpoints.claims())
    if not report.ok:
        raise ArchiveError(
            f"Nothing is archived, because the verification has findings (run verify_audit): {report.findings[0]}."
        )


def _carried(gone: Range) -> dict[str, Any]:
    try:
        return carried_state(gone.last_input)
    except ProjectionMismatch as error:
        raise ArchiveError(f"Nothing is archived, because {error}. Run verify_audit, and rebuild_projection.") from None


def _trust(gone: Range) -> Trust:
    trust = Trust(public_keys())
    if gone.base is not None:
        trust.replay(before=gone.base.pk + 1)
    return trust


def _export(gone: Range, path: Path, stays: set[int], progress: Progress) -> None:
    progress("exporting", gone.first, gone.end)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(path, first=gone.first, end=gone.end, frontier=gone.frontier, lines=gone.lines(stays))
    progress("reading the export", gone.first, gone.end)
    found = files.check(path, frontier=gone.frontier, trust=_trust(gone))
    expected = gone.end - gone.first + sum(number not in stays for number in gone.earlier)
    if (found.root, found.rows) != (bytes(gone.last.root), expected):
        raise ArchiveError(f"{path} does not hold what it should: {found.rows} rows of {expected}.")


def _finish(directory: Path, progress: Progress) -> None:
    """Complete an interrupted run. Only the newest archive can be incomplete."""
    newest = Archive.objects.order_by("-id").first()
    if newest is not None:
        kept = [number for number, _ in newest.kept]
        if Leaf.objects.filter(number__lt=newest.end_leaf).exclude(number__in=kept).exists():
            _finish_one(newest, directory, progress)


def _finish_one(made: Archive, directory: Path, progress: Progress) -> None:
    path = directory / made.file_name
    if not path.exists() or file_sha256(path) != bytes(made.file_sha256):
        raise ArchiveError(f"{path} is not the file of {made}: restore it before its rows are deleted.")
    if not is_signed(made):
        seal(extensions=[statement(made)])
    drop(made, progress)
