"""`python -m fintech.compose.roles`: create the database and its roles, as the server's superuser.

DATABASE_OWNER_URL and DATABASE_URL contain the roles, their passwords and the database's name. The role of
DATABASE_MONITOR_URL reads the server's statistics and no row. DATABASE_ADMIN_URL is the superuser's. A script in the
postgres image would run only with an empty data directory. This program runs at every start, so it also completes what
a power failure interrupted, and a changed password takes effect.
"""

import logging
import sys

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from fintech import env
from fintech.telemetry.logging import write_json_lines

logger = logging.getLogger("fintech.compose")

# No role may gain privileges, not even the owner, who could disable the triggers of evidence as a superuser.
ATTRIBUTES = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def ensure_role(connection: psycopg.Connection, role: str, password: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    # Hashed here, so that the password never reaches the server's log.
    secret = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("ALTER ROLE {} {} PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(role), sql.SQL(ATTRIBUTES), sql.Literal(secret)))


def ensure_database(connection: psycopg.Connection, name: str, owner: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        statement = sql.SQL("CREATE DATABASE {} OWNER {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(owner)))


def allow_statistics(connection: psycopg.Connection, role: str) -> None:
    """Allow reading PostgreSQL's statistics over few connections: a stuck monitor must not use those of payments."""
    connection.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(role)))
    connection.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 5").format(sql.Identifier(role)))


def prepare(admin_url: str, owner_url: str, app_url: str, monitor_url: str) -> None:
    owner, app, monitor = (conninfo_to_dict(url) for url in (owner_url, app_url, monitor_url))
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=5) as connection:
        for role in (owner, app, monitor):
            ensure_role(connection, str(role["user"]), str(role["password"]))
        allow_statistics(connection, str(monitor["user"]))
        ensure_database(connection, str(owner["dbname"]), str(owner["user"]))


def main() -> None:
    write_json_lines()
    try:
        prepare(
            env.text("DATABASE_ADMIN_URL"),
            env.text("DATABASE_OWNER_URL"),
            env.text("DATABASE_URL"),
            env.text("DATABASE_MONITOR_URL"),
        )
    except env.SettingError as error:
        sys.exit(f"error: {error}")
    except psycopg.Error as error:
        sys.exit(f"error: the database's roles cannot be created: {str(error).strip()}")
    logger.info("roles_created")


if __name__ == "__main__":
    main()
