"""Errors of the services that we depend on."""

from django.db import InterfaceError, OperationalError
from psycopg import InterfaceError as PsycopgInterfaceError
from psycopg import OperationalError as PsycopgOperationalError

# The database is or became unavailable: psycopg's pool and our writer raise its errors, Django's connections wrap them.
DATABASE_ERRORS = (OperationalError, InterfaceError, PsycopgOperationalError, PsycopgInterfaceError)


class Unavailable(Exception):
    """An external service does not answer. This is expected from time to time, and a traceback would not help."""
