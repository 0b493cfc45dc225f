"""The connections that the web processes of this host may open, compared with those that the server allows."""

import logging

from django.apps import apps
from django.conf import settings
from django.db import connection

from fintech import env
from fintech.database.sql import fetch_one
from fintech.errors import DATABASE_ERRORS
from fintech.telemetry.metric_slots import slot

logger = logging.getLogger("fintech.database")

ALLOWED = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - current_setting('reserved_connections')::int
"""


def web_connections() -> int:
    """Return the most connections that this host's web processes open to the database itself, without a pooler's."""
    of_apps = sum(getattr(config, "web_connections", 0) for config in apps.get_app_configs())
    reads = 0 if settings.POOLED_DATABASE is not None else settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    return env.integer("WEB_CONCURRENCY", 2, least=1, most=256) * (of_apps + reads)


def report_connections() -> None:
    """Log the arithmetic once per host, as a warning if this host alone could use all that the server allows."""
    if not slot().name.endswith("-0"):
        return
    try:
        (allowed,) = fetch_one(ALLOWED)
    except DATABASE_ERRORS:
        return  # `/ready` reports it
    finally:
        connection.close()
    most = web_connections()
    level = logging.WARNING if most > allowed else logging.INFO
    logger.log(level, "database_connections", extra={"this_host": most, "server_allows": allowed})
