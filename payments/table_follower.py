"""Follow an append-only table without passing over a row.

Ids are assigned before the commit, so a row may become visible after one with a larger id. The follower notes the
newest id that it sees, and then the id of a new database transaction, the horizon. A transaction that holds a smaller
row id began to write before the horizon. Once every transaction up to the horizon has ended, no further row can appear
up to the noted id: it is settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic


@dataclass(frozen=True)
class Mark:
    newest: int
    horizon_xid: str


class TableFollower:
    """`settled` is the id up to which no further row can appear, `newest` the largest id that was seen.

    `server` identifies the server that both hold for. After a failover, ids and transaction ids may begin again below
    those of the lost server, so everything known about it is forgotten.
    """

    def __init__(self, table: str) -> None:
        self._newest = f"SELECT coalesce(max(id), 0) FROM {table}"  # noqa: S608 - a constant of our own
        self._mark: Mark | None = None
        self.server = ""
        self.settled = 0
        self.newest = 0

    def advance(self, cursor: CursorWrapper) -> bool:
        """Look again. Returns False if the server is not the one of the last call: forget what was read from it."""
        cursor.execute("SELECT pg_postmaster_start_time()::text")
        (server,) = cursor.fetchone()
        is_same = server == self.server
        if not is_same:
            self.server, self.settled, self._mark = server, 0, None
        cursor.execute(self._newest)
        (self.newest,) = cursor.fetchone()
        # A mark is kept until it is settled: there may always be a transaction that is older than the last call.
        if self._mark is None or self._has_ended(cursor, self._mark.horizon_xid):
            if self._mark is not None:
                self.settled = self._mark.newest
            cursor.execute("SELECT pg_current_xact_id()::text")
            (horizon_xid,) = cursor.fetchone()
            self._mark = Mark(self.newest, horizon_xid)
        return is_same

    @staticmethod
    def _has_ended(cursor: CursorWrapper, xid: str) -> bool:
        """Return True if every transaction up to this one has ended."""
        cursor.execute("SELECT %s::xid8 < pg_snapshot_xmin(pg_current_snapshot())", [xid])
        return bool(cursor.fetchone()[0])


class JournalReader:
    """Reads the settled part of the journal in batches, each once.

    `statement` uses the entries above the one in the row of `watermark`, at most `batch_size` of them, and moves the
    watermark on: all or nothing.
    """

    watermark: ClassVar[str]
    batch_size: ClassVar[int]  # well within statement_timeout
    statement: ClassVar[str]
    values: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        self._follower = TableFollower("payments_event")

    def advance(self) -> None:
        """Read all that is settled."""
        with connection.cursor() as cursor:
            self._follower.advance(cursor)
            while self._read_batch(cursor):
                pass

    @atomic
    def _read_batch(self, cursor: CursorWrapper) -> bool:
        # The lock first: then the statement sees what came before it.
        cursor.execute(f"SELECT 1 FROM {self.watermark} FOR UPDATE")  # noqa: S608 - a name of our own
        settled, server = self._follower.settled, self._follower.server
        marks: dict[str, Any] = {"upto": settled, "server": server, "most": self.batch_size}
        cursor.execute(self.statement, {**self.values, **marks})
        return cursor.rowcount > 0
