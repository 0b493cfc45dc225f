"""One statement of SQL, for what Django's models do not express."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

Parameters = Sequence[Any] | Mapping[str, Any] | None


def execute(statement: str, parameters: Parameters = None, *, using: str = DEFAULT_DB_ALIAS) -> int:
    """Return the number of rows that the statement has returned or changed."""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.rowcount


def fetch_one(statement: str, parameters: Parameters = None, *, using: str = DEFAULT_DB_ALIAS) -> Any:
    """Return the first row, or None if there is none."""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


def fetch_all(statement: str, parameters: Parameters = None, *, using: str = DEFAULT_DB_ALIAS) -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
