"""Reads that a replica answers: lists, exports and statistics (`DATABASE_REPLICA_URL`).

A read asks the primary for the position of its log, and waits until the replica has replayed the log up to there. So it
sees everything that was committed before it began, on any host: also the caller's own last write. If the replica is
still behind after `DATABASE_REPLICA_WAIT_SECONDS`, does not answer, or cancels the read, the primary answers.

`read` is the one place that chooses. While it runs, `Router` sends Django's queries to the replica. Writes, and all
reads outside of `read`, use the primary.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from prometheus_client import Counter
from psycopg.errors import QueryCanceled

from fintech.database.sql import fetch_one
from fintech.errors import DATABASE_ERRORS

logger = logging.getLogger("fintech.database.replica")

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")

PRIMARY, REPLICA = "default", "replica"
# After a read that the replica did not answer, the primary answers for this time, and no read waits for the replica.
PAUSE_SECONDS = 1.0
POLL_SECONDS = 0.005

READS = Counter("database_replica_reads_total", "Reads for the replica; all but `replica` by the primary.", ["outcome"])
OUTCOMES = {outcome: READS.labels(outcome) for outcome in ("replica", "behind", "unavailable")}

POSITION = "SELECT pg_current_wal_flush_lsn()::text"
REPLAYED = "SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, false)"
LAG = """
SELECT CASE WHEN pg_last_wal_replay_lsn() >= %s::pg_lsn THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8
"""

_reading = ContextVar("reading", default=False)


class Router:
    """Send the queries of `read` to the replica, and all others to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return REPLICA if _reading.get() else PRIMARY

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return PRIMARY

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        return True  # both servers have the same rows


class _Behind(Exception):
    """The replica lacks something that was committed before the read."""


class _Replica:
    """The outcome of the last read, and the time until which the replica is left alone after a failure."""

    def __init__(self) -> None:
        self._outcome, self._paused_until = "replica", 0.0

    def read(self, function: Callable[[], Result]) -> Result:
        if time.monotonic() < self._paused_until:
            return self._from_primary(function)
        position = _position()
        try:
            _wait_until_replayed(position)
            with _routed():
                result = function()
        except _Behind:
            self._pause("behind")
        except DATABASE_ERRORS as error:
            if isinstance(error.__cause__, QueryCanceled):
                raise  # it took too long, and would on the primary
            self._pause("unavailable", error=str(error).strip()[:200])
        else:
            self._note("replica")
            OUTCOMES["replica"].inc()
            return result
        return self._from_primary(function)

    def _from_primary(self, function: Callable[[], Result]) -> Result:
        OUTCOMES[self._outcome].inc()
        return function()

    def _pause(self, outcome: str, **fields: str) -> None:
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        self._note(outcome, **fields)

    def _note(self, outcome: str, **fields: str) -> None:
        """Log a change of the outcome."""
        if outcome != self._outcome:
            self._outcome = outcome
            level = logging.INFO if outcome == "replica" else logging.WARNING
            logger.log(level, "replica_reads", extra={"outcome": outcome, **fields})


_replica = _Replica()


def is_configured() -> bool:
    return REPLICA in connections.settings


def read(function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """Return the result of `function`, which only reads, from the replica if it has all that was committed before.

    If the replica fails in the middle, `function` runs again on the primary.
    """
    if not is_configured() or _reading.get():
        return function(*args, **kwargs)
    return _replica.read(lambda: function(*args, **kwargs))


def from_replica(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function or a view that only reads use `read`."""

    @wraps(function)
    def reading(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return read(function, *args, **kwargs)

    return reading


def connection() -> BaseDatabaseWrapper:
    """Return the connection for SQL without a model: the replica's within `read`."""
    return connections[REPLICA if _reading.get() else PRIMARY]


def lag_seconds() -> float | None:
    """Return the age of the newest transaction that the replica has replayed; 0 if it has all of them.

    None if it has not replayed any since its start.
    """
    (lag,) = fetch_one(LAG, [_position()], using=REPLICA)
    return float(lag) if lag is not None else None


@contextmanager
def _routed() -> Iterator[None]:
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def _position() -> str:
    return str(fetch_one(POSITION, using=PRIMARY)[0])


def _wait_until_replayed(position: str) -> None:
    """Raise `_Behind` if it takes too long, or OperationalError if the server is no replica any more."""
    deadline = time.monotonic() + settings.DATABASE_REPLICA_WAIT_SECONDS
    while True:
        is_replica, has_replayed = fetch_one(REPLAYED, [position], using=REPLICA)
        if not is_replica:
            # Promoted. The pool must replace the connection, and the address finds another replica.
            connections[REPLICA].connection.close()
            raise OperationalError("the server is not a replica any more")
        if has_replayed:
            return
        if time.monotonic() >= deadline:
            raise _Behind
        time.sleep(POLL_SECONDS)
