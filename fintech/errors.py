"""Errors of the services that we depend on."""

from django.db import InterfaceError, OperationalError
from psycopg import InterfaceError as PsycopgInterfaceError
from psycopg import OperationalError as PsycopgOperationalError
from psycopg.errors import ReadOnlySqlTransaction

# The database is or became unavailable: psycopg's pool and our writer raise its errors, Django's connections wrap them.
# A server that only reads is a standby, or was the primary before a failover.
DATABASE_ERRORS = (
    OperationalError,
    InterfaceError,
    PsycopgOperationalError,
    PsycopgInterfaceError,
    ReadOnlySqlTransaction,
)


def is_database_error(error: BaseException | None) -> bool:
    """Return True if the database is unavailable, also where Django has wrapped the driver's error in a general one."""
    return isinstance(error, DATABASE_ERRORS) or isinstance(getattr(error, "__cause__", None), ReadOnlySqlTransaction)


# The client's answer to such an error: code and sentence.
DATABASE_UNAVAILABLE = (
    "database_unavailable",
    "The database is unavailable. The request may have been stored: retry with the same key.",
)


class Unavailable(Exception):
    """An external service does not answer. This is expected from time to time, and a traceback would not help."""
