"""Writes payments: everything that a process has in hand at one moment, in one statement of each kind.

Requests of the same process meet in a queue. The first to come leads: it executes T1, T2 and UNKNOWN for all that is
waiting, counts what was committed, and wakes the others; who came meanwhile is led by the first of them. Each caller is
answered after its commit, and alone it waits for nobody.

Counters equal rows. An increment that follows a commit is lost when the process dies in between, so each settled row
carries the `Writer` (slot and epoch) whose counters hold it, and whoever connects first makes sure that the slot's
earlier sessions are gone, then sets its counters from the rows. The same happens after a lost connection, when
nobody can tell whether the last commit went through.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import psycopg

from fintech.database.connections import is_closed, open_connection
from fintech.server import cooperation
from fintech.telemetry import metric_slots as slots
from payments import metrics
from payments.currencies import to_major
from payments.schemas import MAX_BATCH
from payments.settlement.statements import T1, T2, UNKNOWN

logger = logging.getLogger("payments.settlement.group_commit")

# A whole batch at most in one statement: it bounds how long the others wait.
LARGEST_GROUP = MAX_BATCH


def _unfinished() -> Exception:
    return psycopg.OperationalError("it is not known whether the rows took effect")


@dataclass
class Work:
    """Rows for one of the statements, and what came of them."""

    statement: str
    rows: Sequence[dict[str, Any]]
    stored: dict[UUID, Any] = field(default_factory=dict)  # id -> when
    error: Exception | None = field(default_factory=_unfinished)  # also when its leader ended half-way
    done: bool = False
    # Woken with the work done, or to take the lead.
    waiter: cooperation.Waiter = field(default_factory=cooperation.Waiter)
    leads: bool = False


class Tally:
    """What this slot's counters hold, as whole numbers.

    Counters are set to them, not incremented: floats that were added up can lie a hair above the same total read
    from the rows, and a counter that falls by a hair looks like a restart to Prometheus, which then counts its whole
    value once more. The library's public methods only add, hence the private attributes of its metrics.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)
        self._sales: dict[str, tuple[int, int]] = {}  # currency -> number and sum of succeeded payments

    def load(self, totals: Sequence[tuple[str, str, int, int]]) -> None:
        """Begin anew with what the rows say: (kind, currency, count, amount)."""
        self._counts.clear()
        self._sales.clear()
        for kind, currency, count, amount in totals:
            self._counts[kind] += count
            if kind == "succeeded":
                self._sales[currency] = count, amount
        self._publish((*metrics.STATUS, "unknown"), self._sales)

    def add(self, stored: Iterable[tuple[str, str, int]]) -> None:
        """(status, currency, amount), committed. Once a group: calls for each payment would cost more than storing."""
        kinds, currencies = set(), set()
        for kind, currency, amount in stored:
            kinds.add(kind)
            self._counts[kind] += 1
            if kind == "succeeded":
                currencies.add(currency)
                count, total = self._sales.get(currency, (0, 0))
                self._sales[currency] = count + 1, total + amount
        self._publish(kinds, currencies)

    def _publish(self, kinds: Iterable[str], currencies: Iterable[str]) -> None:
        for kind in kinds:
            counter = metrics.UNKNOWN_OUTCOMES if kind == "unknown" else metrics.STATUS.get(kind)
            if counter is not None:  # `processing` is counted once it is final
                counter._value.set(self._counts[kind])
        for currency in currencies:
            count, total = self._sales[currency]
            summary = metrics.AMOUNT.labels(currency)
            summary._count.set(count)
            summary._sum.set(to_major(total, currency))


class PaymentWriter:
    """One a process. Each method returns the ids whose rows took effect, with their times.

    Raises psycopg.Error; after a lost connection it is not known whether the rows took effect.
    """

    def __init__(self) -> None:
        self._queue: list[Work] = []
        self._leading = False
        self._mutex = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._writer_id: int | None = None
        self._tally = Tally()

    def store(self, rows: Sequence[dict[str, Any]]) -> dict[UUID, Any]:
        return self._submit(Work(T1, rows))

    def settle(self, rows: Sequence[dict[str, Any]]) -> dict[UUID, Any]:
        return self._submit(Work(T2, rows))

    def mark_unknown(self, rows: Sequence[dict[str, Any]]) -> dict[UUID, Any]:
        return self._submit(Work(UNKNOWN, rows))

    def warm_up(self) -> None:
        """Connect and set the counters now: after a crash they are right before the first payment."""
        self._submit(Work(T1, ()))

    def _submit(self, work: Work) -> dict[UUID, Any]:
        with self._mutex:
            self._queue.append(work)
            work.leads, self._leading = not self._leading, True
        if not work.leads:
            work.waiter.wait()  # until the leader has done our work, or hands over
        elif cooperation.on_loop():
            cooperation.end_turn()  # what other clients have sent meanwhile joins the group
        if not work.done:
            self._lead()
        if work.error is not None:
            raise work.error
        return work.stored

    def _lead(self) -> None:
        with self._mutex:
            group, self._queue = self._take_group()
        try:
            for statement in (T1, T2, UNKNOWN):
                works = [work for work in group if work.statement is statement]
                if works:
                    self._execute(statement, works)
                    self._wake(works)  # their payments go on while the next statement commits
        finally:
            self._wake(group)
            with self._mutex:
                successor = self._queue[0] if self._queue else None
                self._leading = successor is not None
            if successor is not None:
                successor.leads = True
                successor.waiter.wake()

    @staticmethod
    def _wake(works: list[Work]) -> None:
        for work in works:
            if not work.done:
                work.done = True
                if not work.leads:
                    work.waiter.wake()

    def _take_group(self) -> tuple[list[Work], list[Work]]:
        """What fits into one group, and what has to wait; the first always fits."""
        size = 0
        for place, work in enumerate(self._queue):
            size += len(work.rows)
            if place and size > LARGEST_GROUP:
                return self._queue[:place], self._queue[place:]
        return self._queue, []

    def _execute(self, statement: str, works: list[Work]) -> None:
        try:
            self._run(statement, works)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._disconnect()
            self._fail(works, error)
        except psycopg.Error as error:
            self._one_by_one(statement, works, error)
        except Exception as error:  # whoever waits must hear of it, whatever it was
            self._disconnect()
            self._fail(works, error)

    def _one_by_one(self, statement: str, works: list[Work], error: psycopg.Error) -> None:
        """One row that the database refuses must not take the others with it."""
        if len(works) == 1:
            self._fail(works, error)
            return
        for work in works:
            self._execute(statement, [work])

    @staticmethod
    def _fail(works: list[Work], error: Exception) -> None:
        for work in works:
            work.error = error

    def _run(self, statement: str, works: list[Work]) -> None:
        connection = self._connected() if self._connection else cooperation.offload(self._connected)
        rows = [{**row, "writer_id": self._writer_id} for work in works for row in work.rows]
        cursor = connection.execute(statement, [_encode(rows)], prepare=True, binary=True)
        answer = cursor.fetchall()
        stored = {row[0]: row[1] for row in answer}
        for work in works:
            work.stored = {row["id"]: stored[row["id"]] for row in work.rows if row["id"] in stored}
            work.error = None
        try:
            self._tally.add(row[2:] for row in answer)
        except Exception:
            logger.exception("counting_failed")  # stored is stored; the next connection counts again
            self._disconnect()

    # --- The connection ------------------------------------------------------------------------------------

    def _connected(self) -> psycopg.Connection[Any]:
        """The open connection; a new one first makes this slot's counters right."""
        if self._connection is not None and is_closed(self._connection):
            self._disconnect()
        if self._connection is None:
            slot = slots.slot()
            connection = open_connection(f"writer {slot.epoch} {slot.name}")
            try:
                self._end_earlier_sessions(connection)
                self._writer_id = self._writer_id or self._register(connection, slot)
                self._tally.load(self._totals(connection, slot))
                # Prepared plans are kept, and are made while tables are small: they must fit when those have grown.
                connection.execute("SET enable_seqscan = off")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @staticmethod
    def _end_earlier_sessions(connection: psycopg.Connection[Any]) -> None:
        """A predecessor's statement may still be running after its process died: end it before counting rows."""
        left = connection.execute(
            "SELECT pid, pg_terminate_backend(pid, 3000) FROM pg_stat_activity"
            " WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
            " AND datname = current_database()"
        ).fetchall()
        if not all(gone for _, gone in left):
            raise psycopg.OperationalError("an earlier session of this metrics slot does not end")

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
        """What the rows say that this slot has counted since its epoch."""
        return connection.execute(
            "SELECT kind, currency, sum(count)::bigint, sum(amount)::bigint FROM payments_kpi_totals"
            " WHERE writer_id IN (SELECT id FROM payments_writer WHERE epoch = %s AND slot = %s)"
            " GROUP BY kind, currency",
            [slot.epoch, slot.name],
        ).fetchall()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _encode(rows: Sequence[dict[str, Any]]) -> str:
    try:
        return orjson.dumps(rows).decode()
    except TypeError as error:  # one row's fault, as if the database had refused it
        raise psycopg.DataError(f"a row is not JSON: {error}") from error


writer = PaymentWriter()
