"""Times that PostgreSQL holds and Python cannot, such as `infinity`: read as the last one that Python has.

Nobody writes one but who wants to keep the evidence from being projected, sealed, verified or looked at: none of that
may stop for a row that cannot be read.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import DataError
from psycopg.abc import Buffer, Loader
from psycopg.pq import Format
from psycopg.types.datetime import TimestamptzBinaryLoader

TIMESTAMPTZ = 1184  # its number in PostgreSQL's catalogue
LAST = datetime.max.replace(tzinfo=UTC)


class Far(Loader):
    """Stands before another loader in a class that is made of both."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)  # type: ignore[safe-super] # never the last of its class
        except DataError:
            return LAST


@cache
def far(loader: type[Loader]) -> type[Loader]:
    return type(f"Far{loader.__name__}", (Far, loader), {})


# psycopg's own in Python: the one in C does not ask a class that is made from it.
FAR_BINARY = far(TimestamptzBinaryLoader)


def read_far_times(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Receiver of `connection_created`: what Django reads as text. A pool hands the same connection out again."""
    adapters = connection.connection.adapters
    usual = adapters.get_loader(TIMESTAMPTZ, Format.TEXT)
    if not issubclass(usual, Far):
        adapters.register_loader(TIMESTAMPTZ, far(usual))
