"""The horizon of a run of the sealer: for each kind of row, the id up to which every row is visible."""

import time

from alerts_audit.seal.canonical import KINDS
from fintech.database.sql import fetch_all, fetch_one

# How long a run waits for writing transactions. If they take longer, it settles nothing this time.
WRITERS_SECONDS = 1.0


def settled_horizon() -> dict[str, int]:
    """Return for each kind the id up to which every row is visible now; omit kinds with a writing transaction."""
    highest = {}
    for kind in KINDS.values():
        # Limit it to ids that were assigned: a row with a chosen id must not settle later ones. A sequence that has
        # assigned none has no last value. Inputs have no sequence.
        (highest[kind.name],) = fetch_one(
            f"SELECT least(coalesce(max({kind.key}), -1), ("  # noqa: S608 - of our own names
            "SELECT coalesce(pg_sequence_last_value(sequence::regclass), -1)"
            f" FROM pg_get_serial_sequence('{kind.table}', '{kind.key}') AS sequence WHERE sequence IS NOT NULL"
            f")) FROM {kind.table}"
        )
    # Read after the ids: any transaction that was assigned one of them holds its lock by then.
    writing = _writing()
    deadline = time.monotonic() + WRITERS_SECONDS
    while (left := writing & _writing()) and time.monotonic() < deadline:
        time.sleep(0.01)
    busy = {table for table, _ in left}
    return {name: number for name, number in highest.items() if KINDS[name].table not in busy}


def _writing() -> set[tuple[str, str]]:
    """Return (table, virtual transaction id) of every transaction that may be inserting."""
    rows = fetch_all(
        "SELECT relname, virtualtransaction FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
        " WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relname = ANY(%s)"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        [[kind.table for kind in KINDS.values()]],
    )
    return {(table, transaction) for table, transaction in rows}
