"""The tests' world: one embedded PostgreSQL for the session, migrated as in production.

It is ready before Django reads its settings, because they come from the environment. Tests run as the
application's database role, on the very tables that `manage.py migrate` made; there is no second database and
no flush (evidence refuses it), so a test makes its own merchant and looks at nothing else.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fintech.run.postgres import EmbeddedPostgres, PostgresError
from fintech.testing.databases import FAST, TEMPLATE, copy_database

PREFIX = "fintech-tests-"


def remove_leftovers() -> None:
    """Stop the servers of test runs that were killed; the directory's name ends with the run's PID."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = directory.name.rpartition("-")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and directory.stat().st_uid == os.geteuid():
            EmbeddedPostgres(directory / "postgres").stop("immediate")
            shutil.rmtree(directory, ignore_errors=True)


def start_postgres() -> tuple[Path, EmbeddedPostgres]:
    directory = Path(tempfile.gettempdir(), f"{PREFIX}{secrets.token_hex(4)}-{os.getpid()}")
    directory.mkdir(mode=0o700)
    server = EmbeddedPostgres(directory / "postgres", settings={**FAST, "max_connections": "200"})
    server.start()
    server.ensure_database("fintech")
    return directory, server


def environment(directory: Path, server: EmbeddedPostgres) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "fintech.settings",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        **server.urls("fintech"),
        "GATEWAY_TOKEN": secrets.token_urlsafe(32),
        "GATEWAY_CONTROL_TOKEN": secrets.token_urlsafe(32),
        "METRICS_TOKEN": secrets.token_urlsafe(32),
        "ALERT_TOKEN": secrets.token_urlsafe(32),
        "HTTPS": "False",
        "RUNTIME_DIR": str(directory / "runtime"),
        "AUDIT_DIR": str(directory / "audit"),
    }


try:
    remove_leftovers()
    DIRECTORY, SERVER = start_postgres()
except PostgresError as error:
    raise pytest.UsageError(str(error)) from None
for name, value in environment(DIRECTORY, SERVER).items():
    os.environ.pop(f"{name}_FILE", None)  # a developer's own settings have no place here
    os.environ[name] = value
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each process that a test starts would compile everything anew

import django  # noqa: E402 (settings read the environment that was made above)
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402

django.setup()  # the conftest files of the apps import models


def pytest_unconfigure() -> None:
    SERVER.stop("immediate")
    shutil.rmtree(DIRECTORY, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker) -> Iterator[None]:
    """The session's database is the one that the environment names, migrated by the real command."""
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)
        connections.close_all()
        copy_database(TEMPLATE, "fintech")
        yield


@pytest.fixture(scope="session", autouse=True)
def _database(django_db_setup: None) -> None:
    """Every test may use the database."""


@pytest.fixture
def open_tmp() -> Path:
    """A folder that PostgreSQL's own account can reach: pytest closes its folders whenever a session begins."""
    return Path(tempfile.mkdtemp(dir=DIRECTORY))
