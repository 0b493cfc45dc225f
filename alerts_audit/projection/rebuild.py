"""Compare the projection with a replay of its inputs, repair it, or carry it over into an archive.

Only the last steps of a replay block the projector, so that no new input arrives in between.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg import IsolationLevel

from alerts_audit.projection import archived_hashes
from alerts_audit.projection.projector import LOCK
from alerts_audit.projection.replay import TABLES, Progress, Replay, prepare
from alerts_audit.projection.store import Connection
from fintech.database.connections import open_connection

# A rebuild may take long. Its temporary tables need a separate session.
SETTINGS = {
    "TimeZone": "UTC",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
MAX_VALUE = 100
# If everything is missing, millions of lines would help no one and fill the memory.
MAX_LINES = 10_000

DIFFERENCES = """
SELECT {key} AS key, to_jsonb(stored) AS stored, to_jsonb(replayed) AS replayed
FROM {stored} AS stored FULL JOIN pg_temp.alerts_audit_{table} AS replayed USING ({key})
WHERE stored IS DISTINCT FROM replayed AND NOT (replayed.{key} IS NULL AND {before})
ORDER BY 1
"""
REMOVE_DIFFERING = """
CREATE TEMP TABLE differing_{table} AS {differing};
DELETE FROM {stored} WHERE {key} IN (SELECT key FROM differing_{table})
"""
REPAIR = """
INSERT INTO {stored}
SELECT * FROM pg_temp.alerts_audit_{table} WHERE {key} IN (SELECT key FROM differing_{table})
"""
MISSED = """
SELECT '{kind}', row.id, row.{at} FROM alerts_audit_{kind} AS row
WHERE NOT EXISTS (SELECT FROM alerts_audit_input WHERE {kind}_id = row.id)
    AND NOT EXISTS (SELECT FROM alerts_audit_pending WHERE kind = '{kind}' AND ref = row.id)
"""
ALL_MISSED = " UNION ALL ".join(
    MISSED.format(kind=kind, at=at) for kind, at in (("delivery", "received_at"), ("observation", "observed_at"))
)
ENQUEUE_MISSED = f"INSERT INTO alerts_audit_pending (kind, ref, at) {ALL_MISSED} ORDER BY 2 ON CONFLICT DO NOTHING"
# A pending entry has a row, and no number yet.
PENDING_AGAIN = """
SELECT kind, ref FROM alerts_audit_pending AS pending
WHERE EXISTS (SELECT FROM alerts_audit_input WHERE pending.kind = 'delivery' AND delivery_id = ref)
    OR EXISTS (SELECT FROM alerts_audit_input WHERE pending.kind = 'observation' AND observation_id = ref)
ORDER BY id
"""
PENDING_WITHOUT_ROW = """
SELECT kind, ref FROM alerts_audit_pending AS pending
WHERE NOT EXISTS (SELECT FROM alerts_audit_delivery WHERE pending.kind = 'delivery' AND id = ref)
    AND NOT EXISTS (SELECT FROM alerts_audit_observation WHERE pending.kind = 'observation' AND id = ref)
ORDER BY pending.id
"""
DEQUEUE_ONE = "DELETE FROM alerts_audit_pending WHERE kind = %s AND ref = %s"

# Sealed inputs existed. Of the others, only an envelope is a trace: its delivery must have had an input. A row that
# someone added to the projection is no trace, and is removed like any other difference.
NEWEST_USED = """
SELECT greatest(0, (SELECT max(ref) FROM alerts_audit_leaf WHERE kind = 'input'), (
    SELECT max(input_number) FROM {envelope} AS envelope
    WHERE NOT EXISTS (SELECT FROM alerts_audit_input AS input WHERE input.delivery_id = envelope.delivery_id)
        AND NOT EXISTS (SELECT FROM alerts_audit_pending WHERE kind = 'delivery' AND ref = envelope.delivery_id)
        AND input_number > %s
))
"""

IDENTITIES = "SELECT to_jsonb(row) FROM alerts_audit_identity AS row ORDER BY id"
LATEST_EPISODES = """
SELECT to_jsonb(row) FROM (
    SELECT DISTINCT ON (identity_id) * FROM alerts_audit_episode ORDER BY identity_id, id DESC
) AS row ORDER BY id
"""


class ProjectionMismatch(Exception):
    """The projection differs from its inputs."""


def diff_rebuild(progress: Progress | None = None) -> Iterator[str]:
    """Yield how the tables differ from a replay, one line each; empty if they match."""
    with replay(progress=progress) as made:
        connection = made.connection
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            connection.execute("SELECT 1")  # from here on this snapshot is used, whatever is projected in the meantime
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
            yield from made.findings
            for kind, ref, _ in connection.execute(ALL_MISSED):
                yield f"{kind} {ref} was never used, and is not pending"
            for kind, ref in connection.execute(PENDING_AGAIN):
                yield f"{kind} {ref} was used, and is pending again"
            for kind, ref in connection.execute(PENDING_WITHOUT_ROW):
                yield f"{kind} {ref} is pending, but does not exist"
            for table in TABLES:
                yield from differences(made, table)
            yield from archived_hashes.changed(connection, made.schema)


class RepairReport(list[str]):
    """The result of a repair: lines for the first differences of each table, and the `total` number of differences."""

    total = 0

    def note(self, lines: Iterable[str]) -> None:
        for place, line in enumerate(lines):
            self.total += 1
            if place < MAX_LINES:
                self.append(line)


def rebuild(progress: Progress | None = None) -> RepairReport:
    """Make the tables equal to a replay, in one transaction. Return the differences.

    Raise ProjectionMismatch if evidence is missing: its episodes would be removed, which are its last trace.
    """
    with replay(progress=progress) as made:
        connection = made.connection
        for line in [*made.findings, *missing_at_the_end(made)]:
            raise ProjectionMismatch(f"evidence is missing: {line}")
        with connection.transaction():
            found = RepairReport()
            for table in TABLES:
                found.note(differences(made, table))
            found.note(f"{kind} {ref} was never used" for kind, ref, _ in connection.execute(ALL_MISSED))
            for statement in (REMOVE_DIFFERING, REPAIR):
                for table, key in TABLES.items():
                    names = {"table": table, "key": key, "stored": stored(made, table)}
                    connection.execute(statement.format(**names, differing=differing(made, table)))
            connection.execute(ENQUEUE_MISSED)
            used = connection.execute(PENDING_AGAIN).fetchall()
            found.note(f"{kind} {ref} was used, and is pending again" for kind, ref in used)
            for pending in used:
                connection.execute(DEQUEUE_ONE, pending)
        return found


def carried_state(last_input: int) -> dict[str, Any]:
    """Return the state from which a rebuild begins after that input: identities, latest episodes, last numbers.

    Also hashes of the rows that outlive their inputs (archived_hashes.py). Raise ProjectionMismatch if those rows were
    changed.
    """
    with replay(last_input) as made:
        identities = fetch_rows(made.connection, IDENTITIES)
        episodes = fetch_rows(made.connection, LATEST_EPISODES)
        numbers = made.numbers
        remaining = hash_remaining_rows(made, [episode["id"] for episode in episodes])
    return {
        "last_input": last_input,
        "numbers": {"identity": numbers.identity, "episode": numbers.episode, "transition": numbers.transition},
        "identities": identities,
        "episodes": episodes,
        "left": remaining,
    }


def hash_remaining_rows(made: Replay, carried_after: list[int]) -> archived_hashes.Hashes:
    carried_before = made.connection.execute(
        "SELECT id FROM alerts_audit_episode WHERE id <= %s", [made.carried.episode]
    )
    span = archived_hashes.Span(
        made.carried, made.numbers, [number for (number,) in carried_before.fetchall()], carried_after
    )
    replayed = archived_hashes.hashes(made.connection, "pg_temp.", span, archived_hashes.COLUMNS)
    found = archived_hashes.hashes(made.connection, f"{made.schema}.", span, archived_hashes.COLUMNS)
    for line in [*made.findings, *archived_hashes.differences(replayed, found)]:
        raise ProjectionMismatch(f"the projection is not what its inputs say: {line}")
    return replayed


@contextmanager
def replay(until: int | None = None, progress: Progress | None = None) -> Iterator[Replay]:
    """Replay all inputs up to `until`, or up to the last one, and then block the projector until the end."""
    connection = open_connection("projection-rebuild", **SETTINGS)
    try:
        made = prepare(connection, until)
        if until is not None:
            made.run(until, progress)
        else:
            made.run(last_number(made), progress)
            connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            made.run(last_number(made), progress)
        yield made
        connection.execute("SELECT pg_advisory_unlock_all()")  # at once, because a closed session may linger
    finally:
        connection.close()


def missing_at_the_end(made: Replay) -> list[str]:
    """Return a line if the projection has used inputs after the last one."""
    last = made.numbers.input
    statement = NEWEST_USED.format(envelope=stored(made, "envelope"))
    (used,) = made.connection.execute(statement, [last]).fetchone() or (0,)
    return [f"inputs {last + 1} to {used} are missing"] if used > last else []


def last_number(made: Replay) -> int:
    row = made.connection.execute("SELECT max(number) FROM alerts_audit_input").fetchone()
    return max(made.carried.input, (row and row[0]) or 0)


# --- Comparing -----------------------------------------------------------------------------------------------------


def differences(made: Replay, table: str) -> Iterator[str]:
    with made.connection.cursor(name=f"differences_{table}") as cursor:
        for key, stored_row, replayed_row in cursor.execute(differing(made, table)):
            yield describe(f"{table} {key}", stored_row, replayed_row)


def describe(name: str, stored_row: Mapping[str, Any] | None, replayed_row: Mapping[str, Any] | None) -> str:
    if stored_row is None:
        return f"{name} is missing"
    if replayed_row is None:
        return f"{name} comes from no input"
    changed = [
        f"{column} is {shown(value)}, but its inputs say {shown(replayed_row[column])}"
        for column, value in stored_row.items()
        if value != replayed_row[column]
    ]
    return f"{name}: {'; '.join(changed)}"


def shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= MAX_VALUE else f"{repr(value)[:MAX_VALUE]}…"


def differing(made: Replay, table: str) -> str:
    return DIFFERENCES.format(table=table, stored=stored(made, table), key=TABLES[table], before=before(made, table))


def stored(made: Replay, table: str) -> str:
    return f"{made.schema}.alerts_audit_{table}"


def before(made: Replay, table: str) -> str:
    """Return SQL that is true for rows older than the newest archive, which contains their evidence."""
    if table == "envelope":
        return f"stored.input_number <= {made.carried.input}"
    return f"stored.id <= {getattr(made.carried, table)}"


def fetch_rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    return [row for (row,) in connection.execute(query)]
