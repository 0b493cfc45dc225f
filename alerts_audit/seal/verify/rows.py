"""Find rows of evidence that should have a leaf and have none."""

from datetime import datetime, timedelta

from alerts_audit.models import Checkpoint, Leaf
from alerts_audit.seal.canonical import KINDS, Kind
from alerts_audit.seal.verify.report import Report
from fintech.database.sql import fetch_all, fetch_one

SPAN = 100_000  # rows read per statement
# Younger rows may wait for the sealer. A row with a time in the future has no such excuse.
GRACE = timedelta(minutes=5)


def check_rows_have_leaves(report: Report, base: Checkpoint | None, last: Checkpoint, now: datetime) -> None:
    for kind in KINDS.values():
        settled = get_settled(last).get(kind.name, -1)
        first = get_settled(base).get(kind.name, -1) + 1 if base else -(2**63)
        for ref, at in rows_without_leaf(report, kind, first):
            subject = f"{kind.name} {ref}"
            if ref <= settled:
                report.find("row_unsealed", subject, "it has no leaf, although later rows have one")
            elif not now - GRACE < at < now + GRACE:
                report.find("row_unsealed", subject, f"it is of {at:%Y-%m-%d %H:%M:%S} UTC, and has no leaf")
            else:
                report.counts["rows that wait for the sealer"] += 1


def get_settled(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the settled ids; empty if they are malformed, because no signature covers them."""
    found = checkpoint.settled
    return found if isinstance(found, dict) and all(type(number) is int for number in found.values()) else {}


def rows_without_leaf(report: Report, kind: Kind, first: int) -> list[tuple[int, datetime]]:
    found: list[tuple[int, datetime]] = []
    (highest,) = fetch_one(f"SELECT max({kind.key}) FROM {kind.table} WHERE {kind.key} >= %s", [first])  # noqa: S608 - of our own names
    while highest is not None and first <= highest:
        report.progress(f"rows without a leaf: {kind.name}", max(0, first), highest)
        (last,) = fetch_one(
            f"SELECT max(key) FROM (SELECT {kind.key} AS key FROM {kind.table}"  # noqa: S608 - of our own names
            f" WHERE {kind.key} >= %s ORDER BY {kind.key} LIMIT {SPAN}) AS next",
            [first],
        )
        rows = fetch_all(
            f"SELECT {kind.key}, {kind.at} FROM {kind.table} AS evidence"  # noqa: S608 - of our own names
            f" WHERE {kind.key} >= %(first)s AND {kind.key} <= %(last)s"
            f" AND NOT EXISTS (SELECT 1 FROM {Leaf._meta.db_table} AS leaf WHERE leaf.kind = %(kind)s"
            f" AND leaf.ref = evidence.{kind.key} AND leaf.ref >= %(first)s AND leaf.ref <= %(last)s)"
            f" ORDER BY {kind.key} LIMIT 1000",
            {"first": first, "last": last, "kind": kind.name},
        )
        found += [(ref, at) for ref, at in rows]
        first = last + 1
    return found
