"""The projector behind a pooler in transaction mode: none of its settings stays on the server's connection."""

from collections.abc import Iterator

import psycopg
import pytest

from alerts_audit.projection.projector import Projector, run_exclusively
from alerts_audit.tests.projection.trail import Trail, url
from alerts_audit.tests.seal.trails import on_database
from fintech.database.connections import open_connection
from fintech.testing.databases import own_database
from fintech.testing.pooler import PGBOUNCER, pooled

SETTINGS = ("synchronous_commit", "statement_timeout", "lock_timeout", "TimeZone")


@pytest.fixture
def durable_trail(django_db_blocker, tmp_path) -> Iterator[Trail]:
    """A database that waits for the disk, as production does; the tests' server does not."""
    with django_db_blocker.unblock(), Trail(own_database()).used(tmp_path) as trail:
        with psycopg.connect(url("postgres", trail.database), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {trail.database} SET synchronous_commit = on")
        yield trail


def settings_of(connection: psycopg.Connection) -> dict[str, str]:
    return {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in SETTINGS}


def test_a_projection_does_not_wait_for_the_disk_and_leaves_its_connection_as_it_was(durable_trail):
    during = {}
    with open_connection("projector") as connection:
        usual = settings_of(connection)

        run_exclusively(connection, lambda taken: during.update(settings_of(taken)))

        assert usual["synchronous_commit"] == "on"
        assert during == {
            "synchronous_commit": "off",
            "statement_timeout": "1min",
            "lock_timeout": "20s",
            "TimeZone": "UTC",
        }
        assert settings_of(connection) == usual


def test_a_projection_that_fails_leaves_its_connection_as_it_was(durable_trail):
    def fail(connection: psycopg.Connection) -> None:
        raise ValueError

    with open_connection("projector") as connection:
        usual = settings_of(connection)

        with pytest.raises(ValueError, match=r"^$"):
            run_exclusively(connection, fail)

        assert settings_of(connection) == usual


@pytest.mark.processes
@pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed (apt install pgbouncer)")
def test_a_client_that_gets_the_projectors_connection_from_pgbouncer_commits_durably(durable_trail, tmp_path):
    durable_trail.fires(0)
    with pooled(durable_trail.database) as pooler, psycopg.connect(pooler, autocommit=True) as payments:
        payments.prepare_threshold = None
        before, usual = backend(payments), settings_of(payments)
        assert usual["synchronous_commit"] == "on"
        with on_database({"DATABASE_URL": pooler, "DATABASE_OWNER_URL": pooler}, tmp_path):
            projector = Projector()
            try:
                assert projector.project_pending() == 1
                assert projector._connection is not None
                assert backend(projector._connection) == before, "both clients share one server connection"
            finally:
                projector.disconnect()

        assert backend(payments) == before
        assert settings_of(payments) == usual


def backend(connection: psycopg.Connection) -> int:
    return connection.execute("SELECT pg_backend_pid()").fetchone()[0]
