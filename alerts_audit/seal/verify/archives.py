"""Verify archives: a signed checkpoint names each one, its kept rows exist, and its file matches, if it is given."""

from collections.abc import Sequence
from pathlib import Path

from alerts_audit.models import Archive, Checkpoint, Leaf
from alerts_audit.seal.archive import files
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.standalone import Invalid, PublicKey
from alerts_audit.seal.verify.leaves import LeafCheck
from alerts_audit.seal.verify.report import Report, plural
from fintech.archive_files import file_sha256

ARCHIVE = "archive "  # a checkpoint's extension line
CHUNK = 1000


def statement(archive: Archive) -> str:
    """Return the checkpoint line that is signed before a deletion, which no one can hide without the key."""
    return f"{ARCHIVE}{archive.first_leaf} {archive.end_leaf} {bytes(archive.file_sha256).hex()}"


def is_signed(archive: Archive) -> bool:
    """Return True if a checkpoint contains the statement. Its signature is checked with all others."""
    return Checkpoint.objects.filter(size__gte=archive.end_leaf, note__contains=f"\n{statement(archive)}\n").exists()


def check_archives(report: Report, roots: Sequence[PublicKey], paths: Sequence[Path]) -> Checkpoint | None:
    """Return the checkpoint at the end of the newest archive, where the remaining leaves begin, or None."""
    archives = list(Archive.objects.order_by("id").defer("carried"))
    signed = [archive for archive in archives if is_signed(archive)]
    for archive in archives:
        if archive not in signed:
            why = "no checkpoint names it: it was inserted by hand, or interrupted (then run archive_audit again)"
            report.find("archive_unsigned", f"archive {archive.pk}", why)
    if not signed:
        return None
    base = Checkpoint.objects.filter(size=signed[-1].end_leaf).order_by("id").first()
    if base is None:
        report.find("checkpoint_missing", f"archive {signed[-1].pk}", "the checkpoint at its end is missing")
        return None
    _check_kept(report, signed[-1])
    _check_files(report, signed, list(roots), paths, base)
    return base


def _check_kept(report: Report, archive: Archive) -> None:
    """Check that the leaves that the archive names as kept exist, and that their rows match the seal."""
    checker = LeafCheck(report, Frontier(), archive.end_leaf)
    kept = _kept(report, archive)
    for place in range(0, len(kept), CHUNK):
        expected = dict(kept[place : place + CHUNK])
        found = Leaf.objects.filter(number__in=list(expected)).order_by("number")
        leaves = [(leaf.number, leaf.kind, leaf.ref, bytes(leaf.hash)) for leaf in found]
        for number in expected.keys() - {leaf[0] for leaf in leaves}:
            report.find("leaf_missing", f"leaf {number}", f"archive {archive.pk} kept it here, but it is missing")
        for number, _, _, digest in leaves:
            if digest != expected[number]:
                report.find("leaf_changed", f"leaf {number}", f"it differs from the one that archive {archive.pk} kept")
        checker.check_rows(leaves)
    others = Leaf.objects.filter(number__lt=archive.end_leaf).exclude(number__in=[number for number, _ in kept])
    if left := others.count():
        report.remarks.append(f"{left} leaves of archive {archive.pk} are still there: run archive_audit again.")


def _kept(report: Report, archive: Archive) -> list[tuple[int, bytes]]:
    try:
        return [(int(number), bytes.fromhex(digest)) for number, digest in archive.kept]
    except (TypeError, ValueError):
        report.find("row_changed", f"archive {archive.pk}", "its list of remaining leaves cannot be read")
        return []


def _check_files(
    report: Report, archives: list[Archive], roots: list[PublicKey], paths: Sequence[Path], base: Checkpoint
) -> None:
    if not paths:
        names = ", ".join(archive.file_name for archive in archives)
        archived = plural("leaf", 0, base.size - 1)
        report.remarks.append(f"Archived, and not verified without --archive: {archived} ({names}).")
        return
    by_hash = {file_sha256(path): path for path in paths}
    frontier, trust = Frontier(), Trust(roots)
    for archive in archives:
        path = by_hash.get(bytes(archive.file_sha256))
        if path is None:
            report.find("archive_file", f"archive {archive.pk}", f"none of the files given is its {archive.file_name}")
            return
        try:
            checked = files.check(path, frontier=frontier, trust=trust)
        except Invalid as error:
            report.find("archive_file", f"archive {archive.pk}", f"{error}")
            return
        report.counts["rows in archives"] += checked.rows
        frontier = checked.frontier
    others = by_hash.keys() - {bytes(archive.file_sha256) for archive in archives}
    for path in sorted(by_hash[digest] for digest in others):
        report.remarks.append(f"{path} was not verified: it is not the file of an archive of this trail.")
    if frontier.root() != bytes(base.root):
        report.find("archive_file", f"archive {archives[-1].pk}", f"it does not end where checkpoint {base.pk} begins")
