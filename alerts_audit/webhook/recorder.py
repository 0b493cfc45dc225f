"""The statement that stores a delivery, over separate connections.

Outside of the pool, an alert neither queues behind the admin's queries nor waits for a pool to time out on an
unavailable database, and no transaction of the caller can roll it back.
"""

import threading
from contextlib import suppress
from typing import Any

import psycopg

from alerts_audit.models import Delivery, Source
from fintech.database.connections import is_closed, open_connection

# Together with the connection's own timeouts: the longest time that a sender waits for its 503.
WAIT_SECONDS = 3
MAX_CONNECTIONS = 4

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
# The condition is part of the statement, because ALERT_TOKEN is accepted without the database.
INSERT = (
    f"INSERT INTO {Delivery._meta.db_table} ({', '.join(FIELDS)})"  # noqa: S608 - names of our own
    f" SELECT {', '.join(f'%({name})s' for name in FIELDS)}"
    f" WHERE NOT EXISTS (SELECT FROM {Source._meta.db_table} WHERE name = %(source)s AND NOT is_active)"
    " RETURNING id, received_at"
)


class SourceInactive(Exception):
    """The source was deactivated, so nothing of it is stored."""


class Recorder:
    """One recorder per process. Its threads share a few connections, so that a large body does not delay small ones."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._idle: list[psycopg.Connection[Any]] = []

    def insert(self, delivery: Delivery) -> None:
        """Commit the delivery, and set its id and its time.

        Raise SourceInactive, or psycopg.Error if the commit is not certain.
        """
        if not self._places.acquire(timeout=WAIT_SECONDS):
            raise psycopg.OperationalError("the deliveries before this one are still being stored")
        try:
            connection = self._take_connection()
            try:
                values = {name: getattr(delivery, name) for name in FIELDS}
                row = connection.execute(INSERT, values, prepare=True).fetchone()
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
        finally:
            self._places.release()
        if row is None:
            raise SourceInactive(delivery.source)
        delivery.pk, delivery.received_at = row

    def _take_connection(self) -> psycopg.Connection[Any]:
        with suppress(IndexError):  # none is idle
            while True:
                connection = self._idle.pop()
                if not is_closed(connection):
                    return connection
                connection.close()
        return open_connection("alerts")

    def disconnect(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


recorder = Recorder()
