"""Group commit: write all payments that a process has in hand at one moment, in one statement and one commit.

The first waiting request becomes the leader. It executes the queued rows of all, updates the counters from what was
committed, and wakes the waiters. Requests that arrive meanwhile form the next group, led by the first of them. Each
caller is answered after its commit; a lone request waits for one turn of the loop.

Counters equal rows. An increment after a commit is lost if the process dies in between, so each settled row carries the
`Writer` (slot and epoch) whose counters include it. A process that connects first ends the earlier sessions of its
slot, then sets its counters from the rows. It does the same after a lost connection, when the result of the last commit
is unknown.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
import psycopg

from fintech.database.connections import is_closed, open_connection
from fintech.errors import DATABASE_ERRORS
from fintech.server import cooperation
from fintech.telemetry import host_registry
from fintech.telemetry import metric_slots as slots
from payments.schemas import MAX_BATCH
from payments.states import ExceededOutcome
from payments.storage import authorization_sql, challenge_sql, payment_sql
from payments.storage.counters import CounterState
from payments.storage.payment_sql import Part

logger = logging.getLogger("payments.storage.group_commit")

# At most a whole batch in one statement: it limits how long the others wait.
MAX_GROUP = MAX_BATCH
# So many turns of the loop can requests arrive before the first of them is written.
MAX_TURNS = 8

# The parts that share a commit, in the order of their execution.
COMMITS = (
    (Part.CREATED, Part.WATCHED, Part.SETTLED),
    (Part.UNKNOWN,),
    (Part.AUTHORIZED,),
    (Part.CAPTURED,),
    (Part.VOIDED,),
    (Part.CHALLENGED,),
    (Part.AUTHENTICATED,),
)
STATEMENTS = payment_sql.STATEMENTS | authorization_sql.STATEMENTS | challenge_sql.STATEMENTS


@dataclass(frozen=True)
class Exceeded:
    """The velocity rules that a payment exceeded, and the outcome of the most severe one."""

    reasons: list[str]
    outcome: ExceededOutcome | None


@dataclass(eq=False)
class WriteRequest:
    """Rows for one part of a statement, and the result."""

    part: Part
    rows: Sequence[dict[str, Any]]
    # When executed: id -> time, and the velocity rules by id.
    stored: dict[UUID, datetime] = field(init=False, repr=False)
    exceeded: dict[UUID, Exceeded] = field(init=False, repr=False)
    error: Exception | None = field(default=None, init=False)
    executed: bool = field(default=False, init=False)  # not if its leader ended half-way
    done: bool = field(default=False, init=False)
    # Woken when the request is done, or to become the leader.
    wakeup: cooperation.Waiter = field(default_factory=cooperation.Waiter, init=False)
    is_leader: bool = field(default=False, init=False)


_part_of = attrgetter("part")


class PaymentWriter:
    """One per process. Each method returns the ids whose rows took effect, with their times.

    Raises psycopg.Error; after a lost connection it is not known whether the rows took effect.
    """

    def __init__(self) -> None:
        self._queue: list[WriteRequest] = []
        self._has_leader = False
        self._mutex = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._writer_id: int | None = None
        self._counters = CounterState()

    def write(self, part: Part, rows: Sequence[dict[str, Any]]) -> dict[UUID, datetime]:
        return self._submit(WriteRequest(part, rows))

    def store_watched(self, rows: Sequence[dict[str, Any]]) -> tuple[dict[UUID, datetime], dict[UUID, Exceeded]]:
        """Store payments of a merchant with velocity rules. Returns also the rules that they exceeded."""
        request = WriteRequest(Part.WATCHED, rows)
        return self._submit(request), request.exceeded

    def restore_counters(self) -> None:
        """Connect and set the counters, so that they are right before the first payment after a crash."""
        self.write(Part.CREATED, ())

    def _submit(self, request: WriteRequest) -> dict[UUID, datetime]:
        with self._mutex:
            self._queue.append(request)
            request.is_leader, self._has_leader = not self._has_leader, True
        if not request.is_leader:
            request.wakeup.wait()  # until the leader has done this request, or hands over
        elif cooperation.on_loop():
            self._gather()
        if not request.done:
            self._commit_group()
        if request.error is not None:
            raise request.error
        if not request.executed:
            raise psycopg.OperationalError("it is not known whether the rows took effect")
        return request.stored

    def _gather(self) -> None:
        """Let requests that arrive in the next turns of the loop join the group: a statement more costs more than they
        wait. A lone request waits for one turn. While a page is in hand, a group gathers longer.
        """
        size, turns = 0, 0
        while turns < MAX_TURNS and len(self._queue) > size:
            size, turns = len(self._queue), turns + 1
            cooperation.end_turn()
        if size > 1:
            cooperation.pages.give_way()

    def _commit_group(self) -> None:
        with self._mutex:
            group, self._queue = self._take_group()
        try:
            present = set(map(_part_of, group))
            for parts in COMMITS:
                if not present.isdisjoint(parts):
                    requests = [request for request in group if request.part in parts]
                    self._execute(requests)
                    self._wake(requests)  # their payments continue during the next commit
        finally:
            self._wake(group)
            with self._mutex:
                successor = self._queue[0] if self._queue else None
                self._has_leader = successor is not None
            if successor is not None:
                successor.is_leader = True
                successor.wakeup.wake()

    @staticmethod
    def _wake(requests: list[WriteRequest]) -> None:
        finished = [request for request in requests if not request.done]
        for request in finished:
            request.done = True
        cooperation.wake_all([request.wakeup for request in finished if not request.is_leader])

    def _take_group(self) -> tuple[list[WriteRequest], list[WriteRequest]]:
        """Return the requests that fit into one group, and the rest; the first always fits."""
        size = 0
        for place, request in enumerate(self._queue):
            size += len(request.rows)
            if place and size > MAX_GROUP:
                return self._queue[:place], self._queue[place:]
        return self._queue, []

    def _execute(self, requests: list[WriteRequest]) -> None:
        try:
            self._run(requests)
        except psycopg.errors.DeadlockDetected as error:  # PostgreSQL has rolled back
            self._one_by_one(requests, error)
        except DATABASE_ERRORS as error:
            self.disconnect()
            self._fail(requests, error)
        except psycopg.Error as error:
            self._one_by_one(requests, error)
        except Exception as error:  # every waiter must get the error
            self.disconnect()
            self._fail(requests, error)

    def _one_by_one(self, requests: list[WriteRequest], error: psycopg.Error) -> None:
        """Execute each request alone: a row that the database refuses must not affect the others."""
        if len(requests) == 1:
            self._fail(requests, error)
            return
        for request in requests:
            self._execute([request])

    @staticmethod
    def _fail(requests: list[WriteRequest], error: Exception) -> None:
        for request in requests:
            request.error = error

    def _run(self, requests: list[WriteRequest]) -> None:
        connection = self._connection
        if connection is None or is_closed(connection):
            connection = cooperation.offload(self._connected)  # it waits for seconds for a server that is down
        by_part = _by_part(requests)
        parts = tuple(part for part in Part if part in by_part)
        values = {part.value: _encode([row for one in by_part[part] for row in one.rows]) for part in parts}
        cursor = connection.execute(STATEMENTS[parts], {**values, "writer": self._writer_id}, prepare=True, binary=True)
        totals: list[tuple[str, str, int, int]] = []
        for part, at, missing, group_totals, found in cursor.fetchall():
            totals += group_totals or ()
            not_stored = frozenset(missing)
            exceeded = {UUID(id): Exceeded(*rules) for id, *rules in found or ()}
            for request in by_part[Part(part)]:
                request.stored = {row["id"]: at for row in request.rows if row["id"] not in not_stored}
                request.exceeded = exceeded
                request.error, request.executed = None, True
        self._count(totals)

    def _count(self, totals: list[tuple[str, str, int, int]]) -> None:
        try:
            self._counters.add(totals)
        except Exception:
            logger.exception("counting_failed")  # the rows are stored; the next connection counts them
            self.disconnect()

    # --- The connection ------------------------------------------------------------------------------------

    def _connected(self) -> psycopg.Connection[Any]:
        """Return the open connection. A new one first sets this slot's counters."""
        if self._connection is not None and is_closed(self._connection):
            self.disconnect()
        if self._connection is None:
            slot = slots.slot()
            connection = open_connection(f"writer {slot.epoch} {slot.name}")
            try:
                host_registry.register(connection.execute, slot)
                self._end_earlier_sessions(connection)
                self._writer_id = self._registered(connection, slot) or self._register(connection, slot)
                self._counters.load(self._totals(connection, slot))
                # Prepared plans are kept from the time when tables are small, and must fit when they have grown. Joins
                # of a group's rows are planned for one row: as a nested loop, 1,000 rows take five times as long.
                # So each statement finds the rows of a table that grows with `= ANY (ARRAY(...))`, not by its joins.
                connection.execute("SET enable_seqscan = off")
                connection.execute("SET enable_nestloop = off")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @staticmethod
    def _end_earlier_sessions(connection: psycopg.Connection[Any]) -> None:
        """End statements that still run after their process died, before rows are counted."""
        left = connection.execute(
            "SELECT pid, pg_terminate_backend(pid, 3000) FROM pg_stat_activity"
            " WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
            " AND datname = current_database()"
        ).fetchall()
        if not all(gone for _, gone in left):
            raise psycopg.OperationalError("an earlier session of this metrics slot does not end")

    def _registered(self, connection: psycopg.Connection[Any], slot: slots.Slot) -> int | None:
        """Return the id of this process's `Writer`, unless it has none, or a failover lost the row."""
        found = connection.execute(
            "SELECT id FROM payments_writer WHERE id = %s AND epoch = %s AND slot = %s",
            [self._writer_id, slot.epoch, slot.name],
        ).fetchone()
        return int(found[0]) if found else None

    @staticmethod
    def _register(connection: psycopg.Connection[Any], slot: slots.Slot) -> int:
        row = connection.execute(
            "INSERT INTO payments_writer (slot, epoch, started_at) VALUES (%s, %s, now()) RETURNING id",
            [slot.name, slot.epoch],
        ).fetchone()
        assert row is not None
        return int(row[0])

    @staticmethod
    def _totals(connection: psycopg.Connection[Any], slot: slots.Slot) -> list[tuple[str, str, int, int]]:
        """Return the totals of the rows that this slot has counted since its epoch."""
        return connection.execute(
            "SELECT kind, currency, sum(count)::bigint, sum(amount)::bigint FROM payments_kpi_totals"
            " WHERE writer_id IN (SELECT id FROM payments_writer WHERE epoch = %s AND slot = %s)"
            " GROUP BY kind, currency",
            [slot.epoch, slot.name],
        ).fetchall()

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _by_part(requests: Sequence[WriteRequest]) -> dict[Part, list[WriteRequest]]:
    # Sorted and grouped in C: a group may have a thousand requests.
    return {part: list(found) for part, found in groupby(sorted(requests, key=_part_of), _part_of)}


def _encode(rows: Sequence[dict[str, Any]]) -> str:
    try:
        return orjson.dumps(rows).decode()
    except TypeError as error:  # the fault of one row, as if the database had refused it
        raise psycopg.DataError(f"a row is not JSON: {error}") from error


writer = PaymentWriter()
