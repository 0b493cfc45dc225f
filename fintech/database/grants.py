"""Grants and limits of the application's database role: enough for its work, and only INSERT and SELECT on evidence.

The owner of the schema migrates and grants; web and worker run as the role of DATABASE_URL. Each app's config lists its
`evidence_models` (INSERT and SELECT), its `kept_models` (also UPDATE) and its `owners_models` (SELECT); rows of other
tables can be deleted too.
"""

from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.db import connections, transaction
from psycopg import sql

from fintech.database.connections import open_connection


def privileges(model_name: str, config: AppConfig) -> str:
    if model_name in getattr(config, "evidence_models", ()):
        return "SELECT, INSERT"
    if model_name in getattr(config, "kept_models", ()):
        return "SELECT, INSERT, UPDATE"
    if model_name in getattr(config, "owners_models", ()):
        return "SELECT"
    return "SELECT, INSERT, UPDATE, DELETE"


def grant_application_role(*, using: str, **_: Any) -> None:
    """Grant the role of DATABASE_URL its rights after each migration. Idempotent; does nothing for the owner."""
    connection = connections[using]
    role = connections["default"].settings_dict["USER"]
    if not role or role == connection.settings_dict["USER"]:
        return
    name = sql.Identifier(role)
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
        cursor.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(name))
        cursor.execute(sql.SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}").format(name))
        existing = set(connection.introspection.table_names(cursor))
        for model in apps.get_models(include_auto_created=True):
            table = model._meta.db_table
            if table in existing:
                config = apps.get_app_config(model._meta.app_label)
                grant = sql.SQL(privileges(model._meta.model_name or "", config))
                cursor.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.Identifier(table), name))
                cursor.execute(sql.SQL("GRANT {} ON {} TO {}").format(grant, sql.Identifier(table), name))


def set_application_timeouts(*, using: str) -> None:
    """Make TIMEOUTS defaults of the role of DATABASE_URL: a pooler in transaction mode passes no options on.

    A role may set its own defaults. Does nothing for the owner, whose migrations may take longer.
    """
    role = connections["default"].settings_dict["USER"]
    if role in ("", connections[using].settings_dict["USER"]):
        return
    with open_connection("migrate") as connection:
        for name, value in settings.TIMEOUTS.items():
            statement = sql.SQL("ALTER ROLE CURRENT_USER SET {} = {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Literal(value)))
