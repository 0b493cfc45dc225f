"""Every row of evidence gets a leaf, and each time the tree's new root is signed and published.

Nothing is skipped. Ids are handed out before their rows are committed, so a row can become visible after one with a
higher id. A checkpoint therefore keeps, for each table, the id up to which nothing can appear any more (`settled`):
the highest id that was visible, once every transaction has ended that was writing into the table just after that was
read (its lock tells; to be given an id, a transaction must already hold that lock). Each run looks for rows without a
leaf from there on, however long another transaction takes. So it reads what is new, not what is old, and a
transaction that stays open makes it read more, never miss one.

A turn's leaves and its checkpoint are one commit; only then the checkpoint is published: to the file, then to the
log. What is published is thus always in the database. If the process ends in between, the next run writes down what
the file lacks. The sealer goes on from the root that was last signed, not from the leaves, so nobody gets a changed
history signed; and it signs nothing while the file knows more than the database.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from alerts_audit.models import Checkpoint, Leaf
from alerts_audit.seal.anchor import CheckpointFile, Entry
from alerts_audit.seal.canonical import KINDS, Kind
from alerts_audit.seal.keys import SealError, signing_key
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.notes import SigningKey, checkpoint_note
from alerts_audit.seal.standalone import Invalid, Note

logger = logging.getLogger("alerts_audit.seal")

SEAL_LOCK = 0x616C6572742D736C  # "alert-sl", for pg_try_advisory_lock
LOCK_SECONDS = 30
# Rows of one commit: a fifth of a second.
CHUNK = 10_000
# How long a run waits for those who are writing; if they take longer, it settles nothing this time.
WRITERS_SECONDS = 1.0


def seal(*, next_key: SigningKey | None = None) -> Checkpoint:
    """Seal all there is, and return the newest checkpoint. Safe from any process at any time: they take turns.

    `next_key`: the checkpoint hands over to this key. Raises SealError if it may not go on.
    """
    with seal_lock():
        last = Checkpoint.objects.order_by("-id").first()
        signer = signing_key(begin=last is None)
        check_before(last, signer)
        horizon = settled_horizon()
        cursor = dict(last.settled) if last else {}
        while True:
            last, full = _turn(last, signer, horizon, cursor, next_key)
            publish()
            if not full:
                return last


@contextmanager
def seal_lock() -> Iterator[None]:
    """One sealer at a time. The lock belongs to the session, so it ends with it."""
    deadline = time.monotonic() + LOCK_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [SEAL_LOCK])
            if cursor.fetchone()[0]:
                break
            if time.monotonic() > deadline:
                raise SealError(f"Another process has been sealing for more than {LOCK_SECONDS} seconds.")
            time.sleep(0.05)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [SEAL_LOCK])


def check_before(last: Checkpoint | None, signer: SigningKey) -> None:
    """Whether what comes next would contradict nothing that was published. Raises SealError."""
    outside = CheckpointFile().last()
    if outside is not None:
        known = Checkpoint.objects.filter(pk=outside.id).values_list("note", flat=True).first()
        if known != outside.note:
            raise SealError(
                f"The checkpoint file ends with checkpoint {outside.id}, and the database has"
                f" {'another one' if known else 'none'} of that number: the log was cut or changed, or restored from"
                " a backup. Run verify_audit; to go on, move the file away and keep it."
            )
    if last is None:
        return
    try:
        note = Note.parse(last.note)
        if note.next_key is not None and note.next_key != signer.public:
            raise Invalid(f"it hands over to key {note.next_key.id.hex()}, and ours is {signer.public.id.hex()}")
        note.signer([signer.public])
        if (note.size, note.root) != (last.size, Frontier(last.size, last.frontier).root()):
            raise Invalid("it is not what its row says")
    except Invalid as error:
        raise SealError(f"The log cannot go on from checkpoint {last.pk}: {error}. Run verify_audit.") from None
    if Leaf.objects.filter(number__gte=last.size).exists():
        raise SealError(f"There are leaves above the {last.size} that are signed: run verify_audit.")


def settled_horizon() -> dict[str, int]:
    """For each kind the id up to which every row is visible now; without those that somebody is still writing."""
    highest = {}
    for kind in KINDS.values():
        highest[kind.name] = _scalar(f"SELECT coalesce(max({kind.key}), 0) FROM {kind.table}")  # noqa: S608
    # After the ids were read: whoever was given one of them by then holds its lock by then.
    writing = _writing()
    deadline = time.monotonic() + WRITERS_SECONDS
    while (left := writing & _writing()) and time.monotonic() < deadline:
        time.sleep(0.01)
    busy = {table for table, _ in left}
    return {name: number for name, number in highest.items() if KINDS[name].table not in busy}


def _writing() -> set[tuple[str, str]]:
    """(table, virtual transaction id) of whoever may be inserting."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, virtualtransaction FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
            " WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relname = ANY(%s)"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [[kind.table for kind in KINDS.values()]],
        )
        return set(cursor.fetchall())


def _scalar(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def _turn(
    last: Checkpoint | None,
    signer: SigningKey,
    horizon: dict[str, int],
    cursor: dict[str, int],
    next_key: SigningKey | None,
) -> tuple[Checkpoint, bool]:
    """One commit: up to CHUNK leaves, and a checkpoint over all. True if there may be more.

    `cursor`: for each kind the id above which this run has to look; it is moved on.
    """
    frontier = Frontier(last.size, last.frontier) if last else Frontier()
    settled = dict(last.settled) if last else {}
    with transaction.atomic():
        kinds: list[str] = []
        refs: list[int] = []
        hashes: list[bytes] = []
        for kind in KINDS.values():
            room = CHUNK - len(hashes)
            rows = unsealed(kind, above=cursor.get(kind.name, 0), limit=room)
            kinds += [kind.name] * len(rows)
            refs += [row[0] for row in rows]
            hashes += [kind.hash(row) for row in rows]
            if rows:
                cursor[kind.name] = rows[-1][0]
            if kind.name in horizon:
                seen = horizon[kind.name] if len(rows) < room else cursor.get(kind.name, 0)
                settled[kind.name] = max(settled.get(kind.name, 0), min(seen, horizon[kind.name]))
        insert_leaves(frontier.size, kinds, refs, hashes)
        frontier.extend(hashes)
        full = len(hashes) == CHUNK
        checkpoint = make_checkpoint(frontier, signer, settled, None if full else next_key)
    return checkpoint, full


def unsealed(kind: Kind, *, above: int, limit: int) -> list[tuple[Any, ...]]:
    """Rows without a leaf, by their key."""
    if limit == 0:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {kind.select} FROM {kind.table} AS evidence WHERE {kind.key} > %(above)s"  # noqa: S608
            f" AND NOT EXISTS (SELECT 1 FROM {Leaf._meta.db_table} AS leaf"
            f" WHERE leaf.kind = %(kind)s AND leaf.ref = evidence.{kind.key})"
            f" ORDER BY {kind.key} LIMIT %(limit)s",
            {"kind": kind.name, "above": above, "limit": limit},
        )
        return cursor.fetchall()


def insert_leaves(first: int, kinds: list[str], refs: list[int], hashes: list[bytes]) -> None:
    if not hashes:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Leaf._meta.db_table} (number, kind, ref, hash)"  # noqa: S608
            " SELECT %s + place - 1, kind, ref, hash"
            " FROM unnest(%s::text[], %s::bigint[], %s::bytea[]) WITH ORDINALITY AS new (kind, ref, hash, place)",
            [first, kinds, refs, hashes],
        )


def make_checkpoint(
    frontier: Frontier, signer: SigningKey, settled: dict[str, int], next_key: SigningKey | None
) -> Checkpoint:
    at: datetime = _scalar("SELECT clock_timestamp()")
    root = frontier.root()
    return Checkpoint.objects.create(
        size=frontier.size,
        root=root,
        at=at,
        key_id=signer.public.id.hex(),
        note=checkpoint_note(signer, frontier.size, root, at, next_key),
        frontier=frontier.hashes,
        settled=settled,
    )


def publish() -> list[Entry]:
    """Bring the checkpoint file up to the database; each checkpoint that is written there is a line of the log too."""
    file = CheckpointFile()
    last = file.last()
    missing = Checkpoint.objects.filter(pk__gt=last.id if last else 0).order_by("id").values_list("id", "note")
    written = file.append(missing.iterator())
    for entry in written:
        logger.info("audit_checkpoint", extra={"checkpoint_id": entry.id, "note": entry.note})
    return written
