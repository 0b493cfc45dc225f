"""Delete archived rows as the owner of the schema, although triggers refuse it.

Each commit is small, because inserts into the tables wait for it. It gives up rather than let inserts queue behind its
wait for the lock.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from django.db import OperationalError, connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Q
from psycopg.errors import LockNotAvailable

from alerts_audit.models import Archive, Checkpoint, Leaf
from alerts_audit.seal.archive.ranges import chunks, get_checkpoint
from alerts_audit.seal.canonical import KINDS, Kind
from alerts_audit.seal.standalone import NEXT_KEY
from alerts_audit.seal.verify.archives import ARCHIVE
from alerts_audit.seal.verify.leaves import body_groups, read_rows
from alerts_audit.seal.verify.report import Progress

LEAVES = Leaf._meta.db_table
CHECKPOINTS = Checkpoint._meta.db_table
LOCK_MILLISECONDS = 300
ATTEMPTS = 100
ROWS = 500  # of one commit
PAUSE_SECONDS = 0.02  # pause between two commits, for waiting inserts


def drop(archive: Archive, progress: Progress) -> int:
    """Delete the archive's rows and leaves, except the kept ones. Return the number of leaves. Can be repeated."""
    kept = {number for number, _ in archive.kept}
    before = Archive.objects.filter(pk__lt=archive.pk).order_by("-id").first()
    dropped = 0
    for start, stop in chunks(0 if before is not None and before.kept else archive.first_leaf, archive.end_leaf):
        progress("dropping", start, archive.end_leaf)
        found = Leaf.objects.filter(number__gte=start, number__lt=stop).order_by("number")
        leaves = [leaf for leaf in found.values_list("number", "kind", "ref") if leaf[0] not in kept]
        for kind in KINDS.values():
            of_kind = {ref: number for number, name, ref in leaves if name == kind.name}
            for refs in _portions(kind, list(of_kind)):
                change([kind.table, LEAVES], partial(_remove, kind, refs, [of_kind[ref] for ref in refs]))
                dropped += len(refs)
    _drop_checkpoints(get_checkpoint(archive))
    return dropped


def _drop_checkpoints(last: Checkpoint) -> None:
    """Delete the checkpoints before `last`, except those that rotate keys or name an archive."""
    naming = Q(note__contains=f"\n{NEXT_KEY}") | Q(note__contains=f"\n{ARCHIVE}")
    old = Checkpoint.objects.filter(pk__lt=last.pk).exclude(naming).order_by("id")
    numbers = list(old.values_list("pk", flat=True))
    for place in range(0, len(numbers), ROWS):
        some = numbers[place : place + ROWS]
        change([CHECKPOINTS], lambda cursor, some=some: _delete(cursor, CHECKPOINTS, "id", some))  # type: ignore[misc]


def _portions(kind: Kind, refs: list[int]) -> Iterator[list[int]]:
    """Yield portions of at most ROWS rows, limited in bytes so that each is quick."""
    for place in range(0, len(refs), ROWS):
        some = refs[place : place + ROWS]
        if kind.body:
            sizes = dict.fromkeys(some, 0) | {ref: row[-1] for ref, row in read_rows(kind, some).items()}
            yield from body_groups(sizes)
        else:
            yield some


def _remove(kind: Kind, refs: Sequence[int], numbers: Sequence[int], cursor: CursorWrapper) -> None:
    """Delete rows and their leaves. A gap is deleted together with the row that closes it, which references it."""
    if kind.name == Leaf.Kind.GAP:
        cursor.execute(f"SELECT id FROM {kind.table} WHERE closes_id = ANY(%s)", [list(refs)])  # noqa: S608 - of our own names
        closing = [ref for (ref,) in cursor.fetchall()]
        cursor.execute(f"DELETE FROM {LEAVES} WHERE kind = 'gap' AND ref = ANY(%s)", [closing])  # noqa: S608 - of our own names
        _delete(cursor, kind.table, kind.key, closing)
    _delete(cursor, kind.table, kind.key, refs)
    _delete(cursor, LEAVES, "number", numbers)


def _delete(cursor: CursorWrapper, table: str, key: str, refs: Sequence[int]) -> None:
    cursor.execute(f"DELETE FROM {table} WHERE {key} = ANY(%s)", [list(refs)])  # noqa: S608 - of our own names


def change(tables: Sequence[str], work: Callable[[CursorWrapper], None]) -> None:
    """Open a transaction of the owner in which these tables can be changed, for this role alone."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                for table in tables:
                    cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                work(cursor)
                for table in tables:
                    cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER append_only")
            break
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable) or attempt == ATTEMPTS:
                raise
    time.sleep(PAUSE_SECONDS)
