"""The whole verification: `verify()`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from django.db import connection

from alerts_audit.models import Checkpoint, Leaf, Verification
from alerts_audit.seal.anchor import CheckpointFile
from alerts_audit.seal.keys import public_keys
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.verify.checkpoints import CheckpointCheck
from alerts_audit.seal.verify.leaves import LeafCheck
from alerts_audit.seal.verify.report import Progress, Report
from alerts_audit.seal.verify.rows import check_rows_have_leaves


def verify(
    *,
    since: datetime | None = None,
    checkpoint_file: Path | None = None,
    key_file: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check the evidence against the log, the log against its signatures and the file outside, and keep the result.

    `since`: from the last checkpoint before that time on. Raises Invalid without a trust root.
    """
    began = time.monotonic()
    report = Report(progress) if progress else Report()
    with long_statements():
        _verify(report, key_file, CheckpointFile(checkpoint_file), since)
        report.seconds = time.monotonic() - began
        Verification.objects.create(
            seconds=report.seconds,
            tree_size=report.tree_size,
            covered=report.covered(),
            findings=report.documents(),
        )
    return report


def _verify(report: Report, key_file: Path | None, file: CheckpointFile, since: datetime | None) -> None:
    now, last, highest = _state()
    if last is None:
        _nothing_sealed(report, file, highest)
        return
    report.tree_size = last.size
    if highest >= last.size:
        report.find("leaf_unsigned", f"leaves from {last.size} on", "no checkpoint tells of them: they were added")
    base = Checkpoint.objects.filter(at__lte=since).order_by("-id").first() if since else None
    trust = Trust(public_keys(key_file))
    frontier = Frontier()
    if base is not None:
        report.window = f"since checkpoint {base.pk} of {base.at:%Y-%m-%d %H:%M:%S} UTC"
        trust.replay(before=base.pk)
        frontier = Frontier(base.size, base.frontier)
    checkpoints = CheckpointCheck(report, trust, file, base, last, now)
    LeafCheck(report, frontier, last.size).check(checkpoints.claims())
    check_rows_have_leaves(report, base, last, now)


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
def long_statements() -> Iterator[None]:
    """For this session, what is allowed to take longer than a request."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '10min'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
