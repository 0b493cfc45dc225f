"""Clamp times that Python cannot represent, such as PostgreSQL's `infinity`, to the latest time that it can.

Only an attacker would insert such a value. It must not stop projection, sealing, verification or the admin.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import DataError
from psycopg.abc import Buffer, Loader
from psycopg.pq import Format
from psycopg.types.datetime import TimestamptzBinaryLoader

TIMESTAMPTZ = 1184  # its OID in PostgreSQL's catalogue
LAST = datetime.max.replace(tzinfo=UTC)


class ClampingLoader(Loader):
    """A mixin that precedes another loader in a class."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)  # type: ignore[safe-super] # never the last of its class
        except DataError:
            return LAST


@cache
def clamping(loader: type[Loader]) -> type[Loader]:
    return type(f"Clamping{loader.__name__}", (ClampingLoader, loader), {})


# psycopg's loader in Python: the one in C ignores classes derived from it.
CLAMPING_BINARY = clamping(TimestamptzBinaryLoader)


def register_clamping_loader(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Register the loaders on `connection_created`. A pool hands out the same connection again."""
    adapters = connection.connection.adapters
    usual = adapters.get_loader(TIMESTAMPTZ, Format.TEXT)
    if not issubclass(usual, ClampingLoader):
        adapters.register_loader(TIMESTAMPTZ, clamping(usual))
