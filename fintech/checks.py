"""System checks of the database server and the admin. `manage.py migrate` runs them, unless it has `--skip-checks`."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib.admin.checks import check_admin_app
from django.core.checks import CheckMessage, Error, Tags, register
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


@register(Tags.admin)
def check_admin_pages(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Check the admin's pages after they were loaded: Django's own check may come before the URLs are read."""
    import fintech.urls  # noqa: F401 - loads them

    return check_admin_app(app_configs, **options)
