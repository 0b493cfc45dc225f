"""Times that PostgreSQL holds and Python cannot, such as `infinity`: read as the last one that Python has.

Nobody writes one but who wants to keep the evidence from being projected, sealed or verified: none of that may stop for
a row that cannot be read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from psycopg import DataError
from psycopg.abc import AdaptContext, Buffer, Loader
from psycopg.pq import Format
from psycopg.types.datetime import TimestamptzBinaryLoader

TIMESTAMPTZ = 1184  # its number in PostgreSQL's catalogue
LAST = datetime.max.replace(tzinfo=UTC)


def far(loader: type[Loader]) -> type[Loader]:
    class Far(loader):  # type: ignore[valid-type, misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except DataError:
                return LAST

    return Far


# psycopg's own in Python: the one in C does not ask a class that is made from it.
FAR_BINARY = far(TimestamptzBinaryLoader)


@contextmanager
def far_times(context: AdaptContext) -> Iterator[None]:
    """In what this connection reads as text, Django's, for as long as it lasts."""
    usual = context.adapters.get_loader(TIMESTAMPTZ, Format.TEXT)
    assert usual is not None
    context.adapters.register_loader(TIMESTAMPTZ, far(usual))
    try:
        yield
    finally:
        context.adapters.register_loader(TIMESTAMPTZ, usual)
