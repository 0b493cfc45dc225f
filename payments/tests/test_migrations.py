"""Every migration can be taken back, and what comes after it is as if nothing had been before."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from fintech.postgres import EmbeddedPostgres
from fintech.testing import BASE_DIR


@pytest.fixture
def server(open_tmp) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(open_tmp / "postgres", settings={"fsync": "off"})
    made.start()
    made.ensure_database("fintech")
    yield made
    made.stop("immediate")


def migrate(server: EmbeddedPostgres, *target: str) -> None:
    urls = {f"DATABASE{name}_URL": server.url(role, "fintech") for name, role in (("", "app"), ("_OWNER", "owner"))}
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0", *target]
    subprocess.run(command, cwd=BASE_DIR, env={**os.environ, **urls}, check=True)


def names(server: EmbeddedPostgres) -> set[str]:
    """Of our tables, views and functions."""
    with psycopg.connect(server.url("owner", "fintech")) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relname ~ '^(payments|alerts_audit)_'"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        return {name for (name,) in found}


def test_all_of_it_can_be_taken_back_and_made_again(server):
    migrate(server)
    made = names(server)

    migrate(server, "payments", "zero")
    assert names(server) == {name for name in made if not name.startswith("payments_")}
    migrate(server, "alerts_audit", "zero")
    assert names(server) == set()

    migrate(server)
    assert names(server) == made


def test_no_event_is_counted_twice_after_the_kpis_were_taken_back(server):
    migrate(server)
    with psycopg.connect(server.url("owner", "fintech")) as connection:
        connection.execute("INSERT INTO payments_kpirollup VALUES (1, 'succeeded', 'EUR', 1, 1250)")

    migrate(server, "payments", "0001")
    migrate(server)

    with psycopg.connect(server.url("owner", "fintech")) as connection:
        assert connection.execute("SELECT * FROM payments_kpi_totals").fetchall() == []
