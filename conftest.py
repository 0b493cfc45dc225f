"""The tests' world: one embedded PostgreSQL for each process that runs tests, migrated as in production.

Django reads its settings from the environment, so the addresses are there before Django is; the server starts later,
and only in a process that runs tests. Tests run as the application's database role, on the very tables that
`manage.py migrate` made; there is no second database and no flush (evidence refuses it), so a test makes its own
merchant and looks at nothing else.
"""

import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import hypothesis
import psutil
import pytest
import xdist

from fintech.run.postgres import EmbeddedPostgres, PostgresError
from fintech.secret_files import webhook_secret
from fintech.testing.databases import (
    FAST,
    TEMPLATE,
    copy_database,
    lent_connections,
    migrated_data,
    migrated_server,
)
from fintech.testing.processes import wait_until

gc.disable()  # until all tests are collected: see fintech/apps.py

pytest_plugins = ["fintech.testing.browser", "fintech.testing.order"]

# A property holds on a slow machine, too: its first example may take seconds, because Hypothesis builds tables.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

PREFIX = "fintech-tests-"
MEMORY, ENOUGH_BYTES = Path("/dev/shm"), 4 * 1024**3


def parent_folder() -> Path:
    """Return the place of this run's folder: in memory if there is enough, which makes copies of databases cheap."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES
    return MEMORY if in_memory else Path(tempfile.gettempdir())


def remove_leftovers() -> None:
    """Stop the servers of test runs that were killed; the directory's name ends with the run's PID."""
    for directory in parent_folder().glob(f"{PREFIX}*-*"):
        pid = directory.name.rpartition("-")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and directory.stat().st_uid == os.geteuid():
            EmbeddedPostgres(directory / "postgres").stop("immediate")
            shutil.rmtree(directory, ignore_errors=True)


def environment() -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "fintech.settings",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        **SERVER.urls("fintech"),
        "GATEWAY_TOKEN": secrets.token_urlsafe(32),
        "GATEWAY_WEBHOOK_SECRET": webhook_secret(),
        "GATEWAY_CONTROL_TOKEN": secrets.token_urlsafe(32),
        "METRICS_TOKEN": secrets.token_urlsafe(32),
        "ALERT_TOKEN": secrets.token_urlsafe(32),
        "HTTPS": "False",
        "MIGRATED_DIR": str(MIGRATED),
        "RUNTIME_DIR": str(DIRECTORY / "runtime"),
        "AUDIT_DIR": str(DIRECTORY / "audit"),
    }


DIRECTORY = parent_folder() / f"{PREFIX}{secrets.token_hex(4)}-{os.getpid()}"
# A migrated server, for copies: with pytest-xdist, that of all workers.
CONTROLLER = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
MIGRATED = parent_folder() / f"{PREFIX}migrated-{CONTROLLER}"
MIGRATION = Thread(target=migrated_data)
SERVER = EmbeddedPostgres(DIRECTORY / "postgres", settings={**FAST, "max_connections": "200"})
for name, value in environment().items():
    os.environ.pop(f"{name}_FILE", None)  # a developer's own settings have no place here
    os.environ[name] = value
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each process that a test starts would compile everything anew

import django  # noqa: E402 (settings read the environment that was made above)
from django.core.management import call_command  # noqa: E402 - after setup
from django.db import connections  # noqa: E402 - after setup

django.setup()  # the conftest files of the apps import models
gc.disable()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the server. With pytest-xdist, the controller makes one, which each worker copies before its first test."""
    if xdist.is_xdist_worker(session):
        DIRECTORY.mkdir(mode=0o700)
        return
    remove_leftovers()
    if xdist.is_xdist_controller(session):
        del os.environ["DJANGO_SETTINGS_MODULE"]  # or Django would read our settings before a worker has made its own
        MIGRATION.start()
        return
    DIRECTORY.mkdir(mode=0o700)
    try:
        SERVER.start()
        SERVER.ensure_database("fintech")
    except PostgresError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.unfreeze()  # all are in the oldest generation now; frozen, few would be left, and each collection a full one
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    if xdist.is_xdist_worker(session):
        migrated_server(DIRECTORY, {})
        SERVER.start()


def pytest_unconfigure() -> None:
    SERVER.stop("immediate")
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    if os.getpid() == CONTROLLER:
        if MIGRATION.ident is not None:
            MIGRATION.join()
        shutil.rmtree(MIGRATED, ignore_errors=True)


def close_own_connections() -> None:
    """Close the connections outside of Django's pool, which live as long as their process."""
    from alerts_audit.projection import projector
    from alerts_audit.webhook.recorder import recorder
    from payments.storage.group_commit import writer

    for owner in (projector, recorder, writer):
        owner.disconnect()


@pytest.fixture(scope="session")
def django_db_setup(request, django_test_environment: None, django_db_blocker) -> Iterator[None]:
    """The session's database is the one that the environment names, migrated by the real command."""
    with django_db_blocker.unblock():
        if not xdist.is_xdist_worker(request):
            call_command("migrate", verbosity=0)
        connections.close_all()
        copy_database(TEMPLATE, "fintech")
        yield
        close_own_connections()


@pytest.fixture(scope="session", autouse=True)
def _database(django_db_setup: None) -> None:
    """Every test may use the database."""


@pytest.fixture(autouse=True)
def _connections_go_back(_database: None) -> Iterator[None]:
    """A thread that keeps its connection takes it from all later tests: the pool has few."""
    before = lent_connections()
    yield
    wait_until(lambda: lent_connections() <= before, what="the connections of its threads are back in the pool")


@pytest.fixture
def open_tmp() -> Path:
    """A folder that PostgreSQL's own account can reach: pytest closes its folders whenever a session begins."""
    return Path(tempfile.mkdtemp(dir=DIRECTORY))
