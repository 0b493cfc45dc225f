"""A PostgreSQL connection of one's own, apart from Django's and its pool."""

from typing import Any

import psycopg
from django.db import connections

PARAMETERS = ("dbname", "user", "password", "host", "port", "connect_timeout", "options")


def open_connection(application_name: str) -> psycopg.Connection[Any]:
    """To the database of the `default` settings, as its role; each statement commits by itself."""
    params = connections["default"].get_connection_params()
    wanted = {name: value for name, value in params.items() if value and (name in PARAMETERS or name.startswith("ssl"))}
    return psycopg.connect(**wanted, application_name=application_name[:63], autocommit=True)
