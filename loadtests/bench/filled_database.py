"""A database that a benchmark fills in SQL, and the measurement of pages on it."""

import os
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from fintech.run import interruption
from fintech.run.postgres import EmbeddedPostgres
from loadtests.bench.cpu_time import tree_seconds

# A temporary database, so nothing waits for the disk.
WITHOUT_DISK = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "8GB", "shared_buffers": "1GB"}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def database(directory: Path, settings: Mapping[str, str] = WITHOUT_DISK) -> Iterator[EmbeddedPostgres]:
    """Start PostgreSQL in `directory`, migrated, for the settings of this process and its children."""
    interruption.install()
    server = EmbeddedPostgres(directory / "postgres", settings=dict(settings))
    server.start()
    try:
        server.ensure_database("fintech")
        tokens = ("DJANGO_SECRET_KEY", "GATEWAY_TOKEN", "METRICS_TOKEN", "ALERT_TOKEN")
        os.environ.update({name: secrets.token_urlsafe(40) for name in tokens})
        os.environ.update(server.urls("fintech"), HTTPS="False", LOG_LEVEL="ERROR", ALLOWED_HOSTS="testserver")
        os.environ.update(AUDIT_DIR=str(directory / "audit"), RUNTIME_DIR=str(directory / "runtime"))
        os.environ["DJANGO_SETTINGS_MODULE"] = "fintech.settings"
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield server
    finally:
        server.stop("fast")


def connect(server: EmbeddedPostgres, name: str = "fintech") -> psycopg.Connection[Any]:
    """Connect as superuser, who can leave out triggers."""
    return psycopg.connect(server.url("postgres", name), autocommit=True)


def drop_indexes(connection: psycopg.Connection[Any], tables: Sequence[str], keep: str = "") -> list[str]:
    """Drop what is built faster at the end. Return the statements that create it."""
    found = connection.execute(
        "SELECT format('DROP INDEX %%I', indexname), indexdef FROM pg_indexes WHERE tablename = ANY(%s)"
        " AND indexname <> %s AND indexname NOT IN (SELECT conname FROM pg_constraint)",
        [list(tables), keep],
    ).fetchall()
    for drop, _ in found:
        connection.execute(drop)
    return [create for _, create in found]


def page(client: Any, address: str) -> Callable[[], Any]:
    """Return the request for a page, which must be found."""

    def ask() -> Any:
        reply = client.get(address)
        assert reply.status_code == 200, (address, reply.status_code, reply.content[:300])
        return reply

    return ask


def administrator() -> Any:
    """Return a client that is signed in to the admin."""
    from django.contrib.auth.models import User
    from django.test import Client

    user, _ = User.objects.get_or_create(username="bench", defaults={"is_superuser": True, "is_staff": True})
    client = Client()
    client.force_login(user)
    return client


@dataclass(frozen=True)
class Times:
    """Times in milliseconds."""

    median: float
    slowest: float
    busy: float

    def row(self, name: str, bound: int | None = None) -> str:
        over = f", over {bound}" if bound is not None and self.median > bound else ""
        return f"| {name} | {self.median:.0f}{over} | {self.slowest:.0f} | {self.busy:.0f} |"


def measure(ask: Callable[[], Any], rounds: int, server: EmbeddedPostgres) -> Times:
    """Measure after a first request has warmed the caches."""
    ask()
    times, busy = [], processor_seconds(server)
    for _ in range(rounds):
        start = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - start))
    busy = 1000 * (processor_seconds(server) - busy) / rounds
    return Times(statistics.median(times), max(times), busy)


def processor_seconds(server: EmbeddedPostgres) -> float:
    """Return the CPU seconds of this process and of PostgreSQL, including ended processes."""
    pid = server.pid()
    assert pid is not None
    return tree_seconds(pid) + time.process_time()
