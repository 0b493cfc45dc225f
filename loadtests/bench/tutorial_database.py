"""Django's settings of the tutorials' database."""

import os
from typing import Any

from psycopg.conninfo import conninfo_to_dict


def databases(keep_seconds: int | None) -> dict[str, Any]:
    """Return DATABASES with this CONN_MAX_AGE."""
    parts = conninfo_to_dict(os.environ["DATABASE_URL"])
    known = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST"}
    address = {target: parts[source] for source, target in known.items()}
    return {"default": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": keep_seconds, **address}}
