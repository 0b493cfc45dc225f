"""The projector: number the pending inputs and project them, in one transaction, under an advisory lock.

Each transaction takes some deliveries (bounded in number and in bytes) or one observation. So a process that dies in
between has numbered no input that it did not project, and a reader never sees half a delivery. The advisory lock is
sufficient, because no other process writes the projection.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import psycopg
from django.db import Error as DjangoDatabaseError
from psycopg import errors

from alerts_audit.payload import DecodedBody
from alerts_audit.projection import store, truncation
from alerts_audit.projection.apply import apply_deliveries, apply_observation, apply_tick, now
from alerts_audit.projection.batch import Batch
from alerts_audit.projection.inputs import begin_batch, fetch_pending, number_inputs, store_inputs
from alerts_audit.projection.rows import MAX_ERROR
from alerts_audit.projection.store import Connection
from alerts_audit.projection.transition_log import log_transitions
from fintech.database.connections import is_closed, open_connection

logger = logging.getLogger("alerts_audit.projection")

LOCK = 0x616C65727473  # "alerts", for PostgreSQL's advisory locks
MAX_DELIVERIES = 200
# Ten thousand alerts on a busy disk may take long. The lock timeout (VACUUM FULL, a migration) is shorter, so that a
# wait for a lock is never mistaken for a faulty delivery.
STATEMENT_TIMEOUT = "60s"
LOCK_TIMEOUT = "20s"
# All settings are local to the transaction: a pooler in transaction mode gives the server's connection to payments
# next, which must not be acknowledged before they are on disk. The projection does not wait for the disk. If a power
# failure loses its last transactions, their deliveries are pending again; a seal or a review that read them has flushed
# them with its own commit. Times have one form in memory and in JSON: UTC.
BEGIN = """
SELECT set_config('TimeZone', 'UTC', true), set_config('statement_timeout', %s, true),
    set_config('lock_timeout', %s, true), set_config('synchronous_commit', 'off', true)
"""
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s)"

# Errors caused by this delivery itself. Other errors of PostgreSQL are temporary, or affect all inputs.
POISON = (errors.DataError, errors.IntegrityError, errors.ProgramLimitExceeded, errors.QueryCanceled)

IS_ANYTHING_PENDING = "SELECT EXISTS (SELECT FROM alerts_audit_pending)"

T = TypeVar("T")
Decoded = Mapping[int, DecodedBody]
NOTHING: Decoded = {}


class Projector:
    """One projector per process, over its own connection. Its threads take turns."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._connection: Connection | None = None

    def project_pending(self, decoded: Decoded = NOTHING) -> int:
        """Project until nothing is pending or another process is at it. Return the number of inputs used.

        `decoded` holds the bodies that the caller has decoded already, by delivery. Raise psycopg.OperationalError
        while the database is unavailable; what was committed until then stays.
        """
        return self._use(partial(self._until_nothing_is_left, decoded))

    def tick(self) -> int:
        """Look for episodes without updates for too long. Return 1 if there are any: the tick is an input then."""
        return self._use(lambda connection: run_exclusively(connection, project_tick))

    def is_anything_pending(self) -> bool:
        return self._use(lambda connection: connection.execute(IS_ANYTHING_PENDING, prepare=True).fetchone()) == (True,)

    def _until_nothing_is_left(self, decoded: Decoded, connection: Connection) -> int:
        total = 0
        while used := self._some(connection, decoded):
            total += used
        return total

    def _some(self, connection: Connection, decoded: Decoded) -> int:
        try:
            return run_exclusively(connection, lambda taken: apply_pending(taken, MAX_DELIVERIES, decoded))
        except Exception as error:
            if not is_poison(error):
                raise
        return run_exclusively(connection, apply_one)

    def _use(self, work: Callable[[Connection], T]) -> T:
        with self._turn:
            try:
                if self._connection is None or is_closed(self._connection):
                    self.disconnect()
                    self._connection = open_connection("projector")
                return work(self._connection)
            except BaseException:
                self.disconnect()
                raise

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_poison(error: Exception) -> bool:
    return isinstance(error, POISON) or not isinstance(error, psycopg.Error | DjangoDatabaseError)


def format_error(error: Exception) -> str:
    """Return the reason for the envelope of a quarantined delivery. PostgreSQL's further lines may quote the row."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:MAX_ERROR]


def run_exclusively(connection: Connection, use: Callable[[Connection], "Batch | None"]) -> int:
    """Run `use` in a transaction of the single projector, then log. Return the number of used inputs."""
    with connection.transaction():
        row = connection.execute(TRY_LOCK, [LOCK], prepare=True).fetchone()
        if row != (True,):
            return 0
        connection.execute(BEGIN, [STATEMENT_TIMEOUT, LOCK_TIMEOUT], prepare=True)
        batch = use(connection)
    if batch is None:
        return 0
    log_transitions(batch)
    return batch.inputs


# --- What is pending --------------------------------------------------------------------------------------------


def apply_pending(connection: Connection, limit: int, decoded: Decoded = NOTHING) -> Batch | None:
    """Project the next deliveries, or the next observation."""
    pending = fetch_pending(connection, limit)
    if not pending:
        return None
    for evidence in pending:
        if evidence.kind == "delivery":
            evidence.decoded = decoded.get(evidence.ref)
    batch = begin_batch(connection)
    numbered = number_inputs(connection, batch, pending)
    if pending[0].kind == "observation":
        apply_observation(connection, batch, *numbered[0])
    else:
        apply_deliveries(connection, batch, numbered)
        truncation.update_truncation_gaps(connection, batch)
    store.write(connection, batch)
    return batch


def apply_one(connection: Connection) -> Batch | None:
    """Apply the next delivery alone. If it still raises, quarantine it with its error, so that it blocks no other."""
    try:
        with connection.transaction():
            return apply_pending(connection, 1)
    except Exception as error:
        if not is_poison(error):
            raise
        logger.exception("alert_quarantined")
        reason = format_error(error)
    pending = fetch_pending(connection, 1)
    batch = begin_batch(connection)
    number_inputs(connection, batch, pending)
    if pending[0].kind == "delivery":
        batch.apply_delivery(batch.numbers.input, pending[0], reason)
        store.write(connection, batch)
    return batch


def project_tick(connection: Connection) -> Batch | None:
    """Apply a tick, which becomes an input only if it changes something. It stores the data that it used."""
    at = now(connection)
    batch = begin_batch(connection)
    batch.numbers.input += 1
    context = apply_tick(connection, batch, batch.numbers.input, at)
    if context is None:
        return None
    row = {"number": batch.numbers.input, "kind": "tick", "at": at, "context": context}
    store_inputs(connection, [row])
    batch.inputs = 1
    store.write(connection, batch)
    return batch


_projector = Projector()
project_pending = _projector.project_pending
is_anything_pending = _projector.is_anything_pending
tick = _projector.tick
disconnect = _projector.disconnect
