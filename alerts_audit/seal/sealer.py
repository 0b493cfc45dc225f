"""Add a leaf for every row of evidence, then sign and publish the tree's new root: a turn each AUDIT_SEAL_SECONDS.

No row is skipped. PostgreSQL assigns ids before rows are committed, so a row can become visible after one with a higher
id. A checkpoint therefore stores, for each table, the id up to which no further row can appear (`settled`): the highest
visible id, once every transaction has ended that was writing to the table just after that id was read. (Their locks
show it: a transaction needs this lock before it gets an id.) Each run looks for rows without a leaf from there on,
however long another transaction takes. So it reads only new rows; a long transaction makes it read more rows, but it
misses none.

The leaves of a turn and their checkpoint are one commit. Only then the checkpoint is published, to the file and to the
log. So the database always contains a published checkpoint. If the process dies in between, the next run completes the
file. The sealer continues from the last signed root, not from the leaves, so it never signs a changed history; and it
signs nothing while the file contains more than the database.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from alerts_audit.models import Checkpoint, Leaf
from alerts_audit.seal.anchor import CheckpointFile
from alerts_audit.seal.canonical import KINDS, Kind
from alerts_audit.seal.horizon import settled_horizon
from alerts_audit.seal.keys import SealError, public_keys, signing_key
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.signed_notes import SigningKey, checkpoint_note
from alerts_audit.seal.standalone import Invalid, Note, PublicKey
from fintech.database.sql import execute, fetch_all, fetch_one

logger = logging.getLogger("alerts_audit.seal")

SEAL_LOCK = 0x616C6572742D736C  # "alert-sl", for pg_try_advisory_lock
LOCK_SECONDS = 30
# Rows per commit, which takes a fifth of a second.
CHUNK = 10_000
# Checkpoints written to the file at once.
PAGE = 1000


def seal(*, next_key: SigningKey | None = None, extensions: Sequence[str] = ()) -> Checkpoint:
    """Seal all new rows and return the newest checkpoint. Any process can call it at any time: runs take turns.

    `next_key`: the checkpoint hands over to this key. `extensions`: additional lines of the checkpoint. Raise SealError
    if sealing must not continue.
    """
    with seal_lock():
        last = Checkpoint.objects.order_by("-id").first()
        signer = check_before(last)
        run = Run(signer, last, settled_horizon())
        while True:
            checkpoint, more = run.turn(next_key, extensions)
            publish()
            if not more:
                return checkpoint


@contextmanager
def seal_lock() -> Iterator[None]:
    """Allow one sealer at a time. The lock belongs to the session and ends with it."""
    deadline = time.monotonic() + LOCK_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [SEAL_LOCK])
            if cursor.fetchone()[0]:
                break
            if time.monotonic() > deadline:
                raise SealError(
                    f"Another process has been sealing for more than {LOCK_SECONDS} seconds: try again later."
                )
            time.sleep(0.05)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [SEAL_LOCK])


def check_before(last: Checkpoint | None) -> SigningKey:
    """Check that the next checkpoint contradicts no published one, and return its signer. Raise SealError."""
    outside = CheckpointFile().last()
    if outside is not None:
        known = Checkpoint.objects.filter(pk=outside.id).values_list("note", flat=True).first()
        if known != outside.note:
            raise SealError(
                f"The checkpoint file ends with checkpoint {outside.id}, and the database has"
                f" {'another one' if known else 'none'} of that number: the log was cut or changed, or restored from"
                " a backup. Run verify_audit; to continue, move the file elsewhere and keep it."
            )
    if last is None:
        return signing_key(last=None)
    try:
        note = Note.parse(last.note)
        signer = signing_key(last=note)
        check_successor(note, signer.public)
        if (note.size, note.root) != (last.size, Frontier(last.size, last.frontier).root()):
            raise Invalid("its signed note differs from its row")
    except Invalid as error:
        raise SealError(f"The log cannot continue from checkpoint {last.pk}: {error}. Run verify_audit.") from None
    if Leaf.objects.filter(number__gte=last.size).exists():
        raise SealError(f"There are more leaves than the {last.size} signed ones: run verify_audit.")
    return signer


def check_successor(note: Note, ours: PublicKey) -> None:
    """Check that our key may sign after this checkpoint. Raise Invalid."""
    if note.next_key is not None and note.next_key != ours:
        raise Invalid(f"it hands over to key {note.next_key.id.hex()}, but ours is {ours.id.hex()}")
    # After a loss, a new key of the trust root continues after another key.
    trusted = public_keys()
    if note.signer([ours, *trusted]) != ours and note.next_key is None and ours not in trusted:
        raise Invalid(f"our key {ours.id.hex()} has not signed it, and is not in the trust root")


class Run:
    """One run of the sealer. `horizon`: for each kind the key up to which every row is visible, if it is known."""

    def __init__(self, signer: SigningKey, last: Checkpoint | None, horizon: dict[str, int]) -> None:
        self.signer, self.horizon = signer, horizon
        self.frontier = Frontier(last.size, last.frontier) if last else Frontier()
        self.settled: dict[str, int] = dict(last.settled) if last else {}
        self._sealed = dict(self.settled)  # the key above which this run must look

    def turn(self, next_key: SigningKey | None, extensions: Sequence[str]) -> tuple[Checkpoint, bool]:
        """Commit up to CHUNK leaves and a checkpoint over all leaves. Return True if there is more to do."""
        with transaction.atomic():
            found: list[tuple[str, int, bytes]] = []
            for kind in KINDS.values():
                found += self._rows(kind, CHUNK - len(found))
            insert_leaves(self.frontier.size, found)
            self.frontier.extend(digest for _, _, digest in found)
            if len(found) == CHUNK:
                return self._sign(None, ()), True
            return self._sign(next_key, extensions), False

    def _rows(self, kind: Kind, room: int) -> list[tuple[str, int, bytes]]:
        """Return kind, key and hash of the rows that get a leaf now, and how far the kind is then settled."""
        rows = unsealed(kind, above=self._sealed.get(kind.name, -1), limit=room)
        if rows:
            self._sealed[kind.name] = rows[-1][0]
        if kind.name in self.horizon:
            horizon = self.horizon[kind.name]
            reached = horizon if len(rows) < room else min(horizon, self._sealed.get(kind.name, -1))
            self.settled[kind.name] = max(self.settled.get(kind.name, -1), reached)
        return [(kind.name, row[0], kind.hash(row)) for row in rows]

    def _sign(self, next_key: SigningKey | None, extensions: Sequence[str]) -> Checkpoint:
        (at,) = fetch_one("SELECT clock_timestamp()")
        size, root = self.frontier.size, self.frontier.root()
        return Checkpoint.objects.create(
            size=size,
            root=root,
            at=at,
            key_id=self.signer.public.id.hex(),
            public_key=str(self.signer.public),
            note=checkpoint_note(self.signer, size, root, at, extensions=extensions, next_key=next_key),
            frontier=self.frontier.hashes,
            settled=self.settled,
        )


def unsealed(kind: Kind, *, above: int, limit: int) -> list[tuple[Any, ...]]:
    """Return rows without a leaf, by key."""
    if limit == 0:
        return []
    return fetch_all(
        f"SELECT {kind.select} {kind.unsealed} ORDER BY {kind.key} LIMIT %(limit)s",
        {"kind": kind.name, "above": above, "limit": limit},
    )


def insert_leaves(first: int, found: Sequence[tuple[str, int, bytes]]) -> None:
    if not found:
        return
    execute(
        f"INSERT INTO {Leaf._meta.db_table} (number, kind, ref, hash)"  # noqa: S608 - of our own names
        " SELECT %s + place - 1, kind, ref, hash"
        " FROM unnest(%s::text[], %s::bigint[], %s::bytea[]) WITH ORDINALITY AS new (kind, ref, hash, place)",
        [first, *([row[column] for row in found] for column in range(3))],
    )


def publish() -> None:
    """Complete the checkpoint file from the database, and log each new checkpoint."""
    file = CheckpointFile()
    last = file.last()
    missing = Checkpoint.objects.filter(pk__gt=last.id if last else 0).order_by("id").values_list("id", "note")
    while written := file.append(missing[:PAGE]):
        if len(written) == PAGE:  # the file was lost, but the log already has its lines
            logger.warning("audit_checkpoints_rewritten", extra={"first": written[0].id, "last": written[-1].id})
        else:
            for entry in written:
                logger.info("audit_checkpoint", extra={"checkpoint_id": entry.id, "note": entry.note})
        missing = missing.filter(pk__gt=written[-1].id)
