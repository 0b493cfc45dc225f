"""Connections of Django's pool, checked before their use."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from fintech.testing.databases import session_server


@pytest.fixture
def others() -> Iterator[psycopg.Connection]:
    """A session outside of the pool."""
    with psycopg.connect(session_server().url("postgres", "fintech"), autocommit=True) as session:
        yield session


def backend() -> int:
    connection.ensure_connection()
    return connection.connection.info.backend_pid


def test_connections_that_the_server_closed_are_replaced(others):
    pid = backend()
    connection.close()  # back to the pool
    others.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() != (pid,)


def test_a_connection_is_checked_without_a_statement(others):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'the last statement'")
    pid = backend()
    connection.close()
    while backend() != pid:  # the pool gives another one first
        connection.close()
    last = others.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()

    assert last == ("SELECT 'the last statement'",)
