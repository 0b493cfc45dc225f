"""The whole verification: `verify()`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import connection

from alerts_audit.completeness.gaps import differences
from alerts_audit.models import Checkpoint, Input, Leaf, Verification
from alerts_audit.projection.rebuild import diff_rebuild
from alerts_audit.seal.anchor import CheckpointFile
from alerts_audit.seal.keys import public_keys
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.verify.archives import check_archives
from alerts_audit.seal.verify.checkpoints import CheckpointCheck
from alerts_audit.seal.verify.leaves import LeafCheck
from alerts_audit.seal.verify.report import Progress, Report
from alerts_audit.seal.verify.rows import check_rows_have_leaves

AUDIT_LOCK = 0x616C6572742D6175  # "alert-au", for pg_advisory_lock


def verify(
    *,
    since: datetime | None = None,
    checkpoint_file: Path | None = None,
    key_file: Path | None = None,
    archives: Sequence[Path] = (),
    projection: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Check the evidence against the log, the log against its signatures and the file outside, and keep the result.

    `since`: from the last checkpoint before that time on, and without the projection, which has no window.
    Raises Invalid without a trust root.
    """
    began = time.monotonic()
    report = Report(progress) if progress else Report()
    with long_statements(), audit_lock(shared=True):
        _verify(report, Sources(CheckpointFile(checkpoint_file), key_file, archives), since)
        if since is None:
            _check_open_gaps(report)
        if projection and since is None:
            _check_projection(report)
        report.seconds = time.monotonic() - began
        Verification.objects.create(
            seconds=report.seconds,
            tree_size=report.tree_size,
            covered=report.covered(),
            findings=report.documents(),
        )
    return report


@dataclass(frozen=True)
class Sources:
    """What lies outside of the database."""

    checkpoints: CheckpointFile
    keys: Path | None
    archives: Sequence[Path]


def _verify(report: Report, outside: Sources, since: datetime | None) -> None:
    now, last, highest = _state()
    if last is None:
        _nothing_sealed(report, outside.checkpoints, highest)
        return
    report.tree_size = last.size
    if highest >= last.size:
        report.find("leaf_unsigned", f"leaves from {last.size} on", "no checkpoint tells of them: they were added")
    trust = Trust(public_keys(outside.keys))
    archived = check_archives(report, trust.active, outside.archives)
    window = Checkpoint.objects.filter(at__lte=since).order_by("-id").first() if since else None
    base = max(filter(None, (archived, window)), key=lambda one: one.size, default=None)
    if window is not None:
        report.window = f"since checkpoint {window.pk} of {window.at:%Y-%m-%d %H:%M:%S} UTC"
    if base is not None:
        trust.replay(before=base.pk)
    frontier = Frontier(base.size, base.frontier) if base else Frontier()
    checkpoints = CheckpointCheck(report, trust, outside.checkpoints, base, last, now)
    LeafCheck(report, frontier, last.size).check(checkpoints.claims())
    check_rows_have_leaves(report, window, last, now)


def _check_open_gaps(report: Report) -> None:
    """That the short list of open gaps, which metrics and pages read, is what the gaps themselves say."""
    for difference in differences():
        report.find("gap_list", "the list of open gaps", difference)


def _check_projection(report: Report) -> None:
    """That it is what its inputs say."""
    for difference in diff_rebuild(lambda done, total: report.progress("inputs, replayed", done, total)):
        report.find("projection", "the projection", difference)
    report.counts["inputs replayed"] = Input.objects.count()


def _state() -> tuple[datetime, Checkpoint | None, int]:
    """The time, the newest checkpoint, and the highest leaf, as of one moment: a checkpoint comes with its leaves."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT now(), (SELECT max(id) FROM {Checkpoint._meta.db_table}),"  # noqa: S608
            f" coalesce((SELECT max(number) FROM {Leaf._meta.db_table}), -1)"
        )
        now, number, highest = cursor.fetchone()
    return now, Checkpoint.objects.filter(pk=number).first(), highest


def _nothing_sealed(report: Report, file: CheckpointFile, highest: int) -> None:
    if highest >= 0:
        report.find("checkpoint_missing", "the log", f"it has {highest + 1} leaves and no checkpoint at all")
    if (entry := file.last()) is not None:
        report.find("checkpoint_missing", f"checkpoint {entry.id} of the file", "the database has no checkpoint at all")
    if not report.findings:
        report.remarks.append("Nothing was sealed yet.")


@contextmanager
def audit_lock(*, shared: bool) -> Iterator[None]:
    """Nobody archives while somebody verifies. It belongs to the session, so it ends with it."""
    kind = "_shared" if shared else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock{kind}(%s)", [AUDIT_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_unlock{kind}(%s)", [AUDIT_LOCK])


@contextmanager
def long_statements() -> Iterator[None]:
    """For this session, what is allowed to take longer than a request."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '10min'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
