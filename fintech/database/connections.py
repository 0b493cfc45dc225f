"""Separate PostgreSQL connections, outside of Django's and its pool."""

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import atomic

from fintech.database.sql import execute
from fintech.server import cooperation

Result = TypeVar("Result")

# Options for Django itself; all others are libpq's, such as sslmode, channel_binding or keepalives.
DJANGOS = ("context", "cursor_factory", "prepare_threshold")


def open_connection(application_name: str, **settings: str) -> psycopg.Connection[Any]:
    """Connect to the database without a pooler in between, as the application's role, in autocommit mode.

    `settings` are the server's, for this session only. They are sent at its start and never by `SET`, which would stay
    on a connection that a pooler in transaction mode gives to another client.
    """
    alias = "session" if "session" in connections.settings else "default"
    params = connections[alias].get_connection_params()
    wanted = {name: value for name, value in params.items() if value and name not in DJANGOS}
    options = [wanted.get("options", ""), *(f"-c {name}={value}" for name, value in settings.items())]
    own = {"application_name": application_name[:63], "options": " ".join(options)}
    return cooperation.LoopConnection.connect(**wanted | own, autocommit=True)


@contextmanager
def snapshot(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let all statements of this transaction see the same rows. A transaction that has begun is left as it is."""
    begins = not connection.in_atomic_block
    with atomic(using=connection.alias):
        if begins:
            execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", using=connection.alias)
        yield


def is_closed(connection: psycopg.Connection[Any]) -> bool:
    """Return True if the server has closed an idle connection: an open one has nothing to read."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def query(function: Callable[..., Result], *arguments: Any) -> Result:
    """Return the result of `function`, which queries Django's database: in a thread, if this is the loop."""
    if not cooperation.on_loop():
        return function(*arguments)
    return cooperation.offload(_release_afterwards, function, *arguments)


def _release_afterwards(function: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return function(*arguments)
    finally:
        connections.close_all()


def release() -> None:
    """Give the caller's connection back to the pool, before a long wait."""
    if not cooperation.on_loop():  # there it has none
        connections["default"].close()
