"""System checks of the database server. `manage.py migrate` runs them, unless it has `--skip-checks`."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.core.checks import Error, Tags, register
from django.db import connections

# Its uuidv7() numbers events, and its skip scan serves lists without an index of their own.
OLDEST_POSTGRESQL = 18


@register(Tags.database)
def check_server_version(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None, **_: object
) -> list[Error]:
    """Refuse a server on which the migrations succeed and the worker fails."""
    return [
        Error(
            f"PostgreSQL {OLDEST_POSTGRESQL} or newer is needed, and the server is PostgreSQL {version}.",
            hint="Upgrade the server, or point DATABASE_URL and DATABASE_OWNER_URL at a newer one.",
            id="fintech.E001",
        )
        for version in [connections[alias].get_database_version()[0] for alias in databases or ()]
        if version < OLDEST_POSTGRESQL
    ]
