"""Refusals at once, so that requests do not queue for connection timeouts while the database is unavailable."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import Error, OperationalError

FAILED_SECONDS = 0.5  # after a database error


class FailFast:
    """Refuse queries for a moment after one has failed."""

    def __init__(self) -> None:
        self._failed_until = float("-inf")

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Run a query, or raise django.db.OperationalError at once."""
        if time.monotonic() < self._failed_until:
            raise OperationalError("the database was unavailable a moment ago")
        try:
            yield
        except (Error, psycopg.Error):
            self._failed_until = time.monotonic() + FAILED_SECONDS
            raise
