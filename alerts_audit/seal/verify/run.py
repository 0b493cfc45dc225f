"""The whole verification: `verify()`."""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from alerts_audit.gaps import differences
from alerts_audit.models import Archive, Checkpoint, Input, Leaf, Verification
from alerts_audit.projection.rebuild import diff_rebuild
from alerts_audit.seal.anchor import CheckpointFile
from alerts_audit.seal.keys import public_keys
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.standalone import Invalid
from alerts_audit.seal.verify.archives import check_archives
from alerts_audit.seal.verify.checkpoints import CheckpointCheck, checkpoint_by
from alerts_audit.seal.verify.guards import check_guards
from alerts_audit.seal.verify.leaves import LeafCheck
from alerts_audit.seal.verify.report import Progress, Report
from alerts_audit.seal.verify.rows import check_rows_have_leaves
from fintech.database.sql import execute, fetch_one
from fintech.errors import DATABASE_ERRORS

logger = logging.getLogger("alerts_audit.seal")

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
    """Check the evidence against the log, the log against its signatures and the file outside, and store the result.

    `since`: start at the last checkpoint before that time, and skip the projection, which has no window. Raise Invalid
    without a trust root, and for files of archives if there is no archive.
    """
    if archives and not Archive.objects.exists():
        raise Invalid(f"nothing of this trail was archived, so {archives[0]} is not one of its archives.")
    began = time.monotonic()
    report = Report(progress) if progress else Report()
    with long_statements(), audit_lock(shared=True):
        check_guards(report)
        _verify(report, Sources(CheckpointFile(checkpoint_file), key_file, archives), since)
        if since is None:
            # The small table of open gaps, which metrics and pages read, must equal the gaps themselves.
            for difference in differences():
                report.find("gap_list", "the list of open gaps", difference)
        else:
            report.remarks.append(
                "The projection and the list of open gaps were not verified: only a complete verification covers them."
            )
        if projection and since is None:
            _check_projection(report)
        report.seconds = time.monotonic() - began
        Verification.objects.create(
            seconds=report.seconds, tree_size=report.tree_size, covered=report.covered(), findings=report.documents()
        )
    return report


@dataclass(frozen=True)
class Sources:
    """The inputs from outside the database."""

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
        report.find("leaf_unsigned", f"leaves from {last.size} on", "no checkpoint covers them: they were added")
    trust = Trust(public_keys(outside.keys))
    if len(trust.active) > 1:
        report.remarks.append(
            f"The trust root has {len(trust.active)} keys, each of which may sign anything: compare it with your copy."
        )
    archived = check_archives(report, trust.active, outside.archives)
    window = checkpoint_by(since) if since else None
    if since is not None:
        report.window = "since the first checkpoint"
    if window is not None:
        report.window = f"since checkpoint {window.pk} of {window.at:%Y-%m-%d %H:%M:%S} UTC"
    base, frontier = _beginning(report, [window, archived])
    if base is not None:
        trust.replay(before=base.pk)
    claims = CheckpointCheck(report, trust, outside.checkpoints, base, last, now).claims()
    if frontier is None:
        deque(claims, maxlen=0)
    else:
        LeafCheck(report, frontier, last.size).check(claims)
    check_rows_have_leaves(report, window, last, now)


def _beginning(report: Report, candidates: Sequence[Checkpoint | None]) -> tuple[Checkpoint | None, Frontier | None]:
    """Return the longest of these checkpoints whose frontier is intact, with its frontier.

    The last candidate is the end of the newest archive: without an intact frontier, return it alone.
    """
    for base in sorted(filter(None, candidates), key=lambda one: one.size, reverse=True):
        try:
            return base, Frontier(base.size, base.frontier)
        except Invalid as error:
            what = f"the log cannot be continued from it, because its row was changed ({error})"
            report.find("checkpoint_row", f"checkpoint {base.pk}", what)
    *_, archived = candidates
    return archived, None if archived is not None else Frontier()


def _check_projection(report: Report) -> None:
    """Check that the projection equals its inputs. Tampering may leave nothing that can be replayed."""
    try:
        for difference in diff_rebuild(lambda done, total: report.progress("inputs, replayed", done, total)):
            report.find("projection", "the projection", difference)
    except DATABASE_ERRORS:
        raise
    except Exception as error:
        logger.exception("audit_replay_failed")
        what = f"its inputs cannot be replayed ({type(error).__name__}: {error})".partition("\n")[0]
        report.find("projection", "the projection", what)
    report.counts["inputs replayed"] = Input.objects.count()


def _state() -> tuple[datetime, Checkpoint | None, int]:
    """Return time, newest checkpoint and highest leaf of one snapshot: a checkpoint is committed with its leaves."""
    now, number, highest = fetch_one(
        f"SELECT now(), (SELECT max(id) FROM {Checkpoint._meta.db_table}),"  # noqa: S608 - of our own names
        f" coalesce((SELECT max(number) FROM {Leaf._meta.db_table}), -1)"
    )
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
    """Prevent an archive run during a verification. The lock belongs to the session and ends with it."""
    kind = "_shared" if shared else ""
    execute(f"SELECT pg_advisory_lock{kind}(%s)", [AUDIT_LOCK])
    try:
        yield
    finally:
        execute(f"SELECT pg_advisory_unlock{kind}(%s)", [AUDIT_LOCK])


@contextmanager
def long_statements() -> Iterator[None]:
    """Allow statements of this session to take longer than a request."""
    execute("SET statement_timeout = '10min'")
    try:
        yield
    finally:
        execute("RESET statement_timeout")
