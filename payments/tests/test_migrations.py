"""Every migration can be taken back, and what comes after it is as if nothing had been before.

The first tests are steps of one story: hundreds of migrations are most of their time.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest

from fintech.checks import OLDEST_POSTGRESQL
from fintech.run import postgres
from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.databases import drop_database, own_database, session_server
from fintech.testing.processes import BASE_DIR

pytestmark = [pytest.mark.in_order, pytest.mark.processes]

# Unlike the embedded one, Debian's can compress by lz4.
DEBIANS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Database(NamedTuple):
    server: EmbeddedPostgres
    name: str

    def url(self, role: str) -> str:
        return self.server.url(role, self.name)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A database of the session's server, with all migrations."""
    name = own_database()
    yield Database(session_server(), name)
    drop_database(name)


def migrate(database: Database, *target: str) -> None:
    done = manage_migrate(database, *target)
    assert done.returncode == 0, done.stderr


def manage_migrate(database: Database, *target: str) -> subprocess.CompletedProcess[str]:
    urls = {f"DATABASE{name}_URL": database.url(role) for name, role in (("", "app"), ("_OWNER", "owner"))}
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0", *target]
    return subprocess.run(
        command, cwd=BASE_DIR, env={**os.environ, **urls}, capture_output=True, text=True, check=False
    )


def names(database: Database) -> set[str]:
    """Return the names of our tables, views and functions."""
    with psycopg.connect(database.url("owner")) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relname ~ '^(payments|alerts_audit)_'"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        return {name for (name,) in found}


@pytest.fixture(scope="module")
def made(database: Database) -> set[str]:
    return names(database)


def test_all_of_it_can_be_taken_back(database, made):
    with psycopg.connect(database.url("owner")) as connection:
        connection.execute("INSERT INTO payments_kpirollup VALUES (1, 'succeeded', 'EUR', 1, 1250)")

    migrate(database, "payments", "zero")
    assert names(database) == {name for name in made if not name.startswith("payments_")}
    migrate(database, "alerts_audit", "zero")
    assert names(database) == set()


ROW_OF_0002 = """
INSERT INTO payments_transaction
    (id, merchant_id, idempotency_key, amount, currency, status, fee, fraud_reasons, metadata, settled_at)
VALUES (%s, 1, %s, %s, 'EUR', %s, %s, '[]', '{}', CASE WHEN %s THEN now() END)
"""


def test_old_payments_keep_their_fee_and_their_key_at_the_gateway(database):
    migrate(database, "payments", "0002")
    rows = {uuid4(): row for row in ((1250, "succeeded", 19), (1250, "succeeded", 31), (77, "declined", 0))}
    with psycopg.connect(database.url("owner")) as connection:
        connection.execute(
            "INSERT INTO payments_merchant (name, country, is_active, fraud_threshold, fraud_weights,"
            " unscored_limit_minor, fee_basis_points) VALUES ('old', 'DE', true, 1, '{}', 0, 150)"
        )
        for key, (amount, status, fee) in rows.items():
            connection.execute(ROW_OF_0002, [key, key.hex, amount, status, fee, True])

    migrate(database)
    still_inserted_by_the_old_release = uuid4()
    with psycopg.connect(database.url("owner")) as connection:
        connection.execute(ROW_OF_0002, [still_inserted_by_the_old_release, "k", 5, "processing", 0, False])
        found = connection.execute(
            "SELECT id, gateway_key = id, (amount * fee_basis_points + 5000) / 10000, gateway FROM payments_transaction"
        ).fetchall()

    fees = {key: fee for key, (_, status, fee) in rows.items() if status == "succeeded"}
    assert {key: fee for key, _, fee, _ in found if key in fees} == fees
    assert {(is_id, gateway) for _, is_id, _, gateway in found} == {(True, "simulator")}
    assert len(found) == 4


def test_all_of_it_is_made_again(database, made):
    assert names(database) == made


def test_no_event_is_counted_twice_after_the_kpis_were_taken_back(database):
    with psycopg.connect(database.url("owner")) as connection:
        assert connection.execute("SELECT * FROM payments_kpi_totals").fetchall() == []


def test_migrations_can_be_taken_back_with_payments(database):
    migrate(database, "payments", "0002")


@pytest.fixture
def with_lz4(open_tmp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty database of a server of Debian's."""
    if DEBIANS is None:
        pytest.skip("no PostgreSQL of Debian's is installed")
    monkeypatch.setattr(postgres, "PROGRAMS", DEBIANS)
    server = EmbeddedPostgres(open_tmp / "postgres", settings={"fsync": "off"})
    account = server.account()
    open_tmp.chmod(0o711)
    server.data_dir.mkdir(mode=0o700)
    os.chown(server.data_dir, account.pw_uid, account.pw_gid)
    # Ours is made with options that older releases do not know.
    command = [
        DEBIANS / "initdb",
        "-D",
        server.data_dir,
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
    ]
    subprocess.run(command, check=True, capture_output=True, user=account.pw_uid, group=account.pw_gid)
    server.start()
    server.ensure_database("fintech")
    yield Database(server, "fintech")
    server.stop("immediate")


def compressions(database: Database) -> list[str]:
    """Return how bodies are compressed: by lz4 (l), or by the server's default."""
    with psycopg.connect(database.url("owner")) as connection:
        found = connection.execute(
            "SELECT attcompression FROM pg_attribute WHERE attname = 'body' AND attrelid IN"
            " ('alerts_audit_delivery'::regclass, 'alerts_audit_observation'::regclass)"
        )
        return [compression for (compression,) in found]


def test_a_server_that_is_too_old_is_refused_before_anything_is_migrated(with_lz4):
    with psycopg.connect(with_lz4.url("owner")) as connection:
        release = connection.info.server_version // 10_000
    if release >= OLDEST_POSTGRESQL:
        pytest.skip(f"Debian's PostgreSQL {release} is new enough")

    done = manage_migrate(with_lz4)

    assert done.returncode == 1
    assert f"(fintech.E001) PostgreSQL 18 or newer is needed, and the server is PostgreSQL {release}." in done.stderr
    assert names(with_lz4) == set()


def test_bodies_are_compressed_by_lz4_where_the_server_has_it(with_lz4):
    migrate(with_lz4, "--skip-checks", "alerts_audit")  # Debian's may be too old for the worker
    assert compressions(with_lz4) == ["l", "l"]

    migrate(with_lz4, "--skip-checks", "alerts_audit", "0005")
    assert compressions(with_lz4) == ["", ""]


def test_bodies_are_compressed_as_the_server_does_where_it_has_no_lz4(database):
    assert compressions(database) == ["", ""]
