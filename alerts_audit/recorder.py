"""The one statement that keeps a delivery, over a connection of its own.

Apart from the pool, an alert neither queues behind the admin's queries nor waits until a pool gives up on a database
that is away, and no transaction of the caller's can take it back.
"""

import threading
from typing import Any

import psycopg

from alerts_audit.models import Delivery
from fintech.connection import hung_up, open_connection

# Together with the connection's own timeouts: the longest that a sender waits for its 503.
WAIT_SECONDS = 3

FIELDS = (
    "source",
    "content_type",
    "content_encoding",
    "body",
    "sha256",
    "size",
    "kept_sha256",
    "request_id",
    "trace_id",
)
INSERT = (
    f"INSERT INTO {Delivery._meta.db_table} ({', '.join(FIELDS)})"  # noqa: S608 - names of our own
    f" VALUES ({', '.join(f'%({name})s' for name in FIELDS)}) RETURNING id, received_at"
)


class Recorder:
    """One a process; threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def insert(self, delivery: Delivery) -> None:
        """Commit it, and give it its id and its time. Raises psycopg.Error if that is not certain."""
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise psycopg.OperationalError("the delivery before this one is still being stored")
        try:
            values = {name: getattr(delivery, name) for name in FIELDS}
            row = self._connected().execute(INSERT, values, prepare=True).fetchone()
            assert row is not None
            delivery.pk, delivery.received_at = row
        except BaseException:
            self._disconnect()
            raise
        finally:
            self._lock.release()

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is not None and hung_up(self._connection):
            self._disconnect()
        if self._connection is None:
            self._connection = open_connection("alerts")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


recorder = Recorder()
