"""A PostgreSQL connection of one's own, apart from Django's and its pool."""

import select
from typing import Any

import psycopg
from django.db import connections

# What Django means for itself; the rest is libpq's, such as sslmode, channel_binding or keepalives.
DJANGOS = ("context", "cursor_factory", "prepare_threshold")


def open_connection(application_name: str, **settings: str) -> psycopg.Connection[Any]:
    """Connect to the database of the `default` settings, as its role; each statement commits by itself.

    `settings` are the server's, for this session alone. They are sent when it starts and never by `SET`, which would
    stay on a connection that a pooler in transaction mode hands to another client.
    """
    params = connections["default"].get_connection_params()
    wanted = {name: value for name, value in params.items() if value and name not in DJANGOS}
    options = [wanted.get("options", ""), *(f"-c {name}={value}" for name, value in settings.items())]
    own = {"application_name": application_name[:63], "options": " ".join(options)}
    return psycopg.connect(**wanted | own, autocommit=True)


def is_closed(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has closed a connection at rest: one that lives has nothing to say."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
