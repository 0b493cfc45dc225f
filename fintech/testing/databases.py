"""Databases for tests, migrated and empty, created quickly: on the session's server, or on a server that can be
stopped.

own_database()                 another database of the session's server
migrated_server(folder, {})    a copy of a server's data, with the settings of production
server_with_accounts(folder, {}, secrets)    the same, after `manage.py bootstrap`
"""

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import psycopg
from django.db import connections
from psycopg import sql

from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.processes import BASE_DIR

# Durability is tested on separate servers; elsewhere speed counts.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
TEMPLATE = "migrated"

P = ParamSpec("P")
R = TypeVar("R")


def in_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function that a thread runs: afterwards the thread's connections are back in the pool, which has few."""

    @wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        finally:
            connections.close_all()

    return run


def lent_connections() -> int:
    """Return how many connections of the pool other threads have."""
    default = connections["default"]
    pool = getattr(default, "pool", None)
    stats = pool.get_stats() if pool else {}
    own = default.connection is not None
    return stats.get("pool_size", 0) - stats.get("pool_available", 0) - own


def session_folder() -> Path:
    """Return the folder of conftest.py, which is removed at the end."""
    return Path(os.environ["RUNTIME_DIR"]).parent


def session_server() -> EmbeddedPostgres:
    return EmbeddedPostgres(session_folder() / "postgres")


def copy_database(name: str, template: str) -> None:
    """Copy a database of the session's server. The template must have no connections."""
    with psycopg.connect(session_server().url("postgres", "postgres"), autocommit=True) as connection:
        names = map(sql.Identifier, (name, template))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY OWNER owner").format(*names))


def drop_database(name: str) -> None:
    """Drop a database of the session's server, because the server may be in memory."""
    with psycopg.connect(session_server().url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def own_database() -> str:
    """Create a database on the session's server and return its name."""
    name = f"own_{secrets.token_hex(4)}"
    copy_database(name, TEMPLATE)
    return name


def migrated_server(folder: Path, settings: Mapping[str, str]) -> EmbeddedPostgres:
    """Create a server in `folder`, not started, with its database `fintech`. Its account must be able to enter the
    folder.
    """
    return _copy(migrated_data(), folder, settings)


def server_with_accounts(folder: Path, settings: Mapping[str, str], secrets: Path) -> EmbeddedPostgres:
    """Create a server like `migrated_server`, with the accounts of `manage.py bootstrap --out secrets`."""
    data = _made_once("accounts", _make_accounts)
    for path in (data / "secrets").iterdir():
        shutil.copy(path, secrets)
    return _copy(data / "postgres", folder, settings)


def migrated_data() -> Path:
    """Return the data of a stopped, migrated server."""
    return _made_once("migrated", _make_migrated) / "postgres"


def _copy(data: Path, folder: Path, settings: Mapping[str, str]) -> EmbeddedPostgres:
    subprocess.run(["cp", "-a", data, folder / "postgres"], check=True)
    return EmbeddedPostgres(folder / "postgres", settings=settings)


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that each session makes once, as do processes with the same MIGRATED_DIR."""
    folder = Path(os.environ.get("MIGRATED_DIR") or session_folder() / "made") / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            make(folder)
            (folder / "complete").touch()
    return folder


def _make_migrated(folder: Path) -> None:
    _change(EmbeddedPostgres(folder / "postgres", settings=FAST), "migrate", "--verbosity=0")


def _make_accounts(folder: Path) -> None:
    _change(migrated_server(folder, FAST), "bootstrap", f"--out={folder / 'secrets'}", "--verbosity=0")


def _change(server: EmbeddedPostgres, *command: str) -> None:
    """Run a management command, and stop the server."""
    try:
        server.start()
        server.ensure_database("fintech")
        manage = [sys.executable, "manage.py", *command]
        environment = {**os.environ, **server.urls("fintech")}
        subprocess.run(manage, cwd=BASE_DIR, env=environment, check=True, stdout=subprocess.DEVNULL)
        server.stop()
    except BaseException:
        server.stop("immediate")
        shutil.rmtree(server.data_dir)
        raise
