"""The real command is killed at its steps, with SIGKILL, and the next run goes on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest

from fintech.testing.databases import session_server
from fintech.testing.processes import BASE_DIR, wait_until
from payments.tests.archive.books import Books

pytestmark = pytest.mark.processes

PAYMENTS = 1_100  # three parts
MANY = """
CREATE TEMP TABLE made AS SELECT uuidv7() AS id, gen_random_uuid()::text AS key, min(merchant.id) AS merchant
FROM payments_merchant AS merchant, generate_series(1, 1100) AS n GROUP BY n;
INSERT INTO payments_idempotencykey (merchant_id, key, resource_id, kind) SELECT merchant, key, id, 'payment' FROM made;
INSERT INTO payments_transaction (id, merchant_id, idempotency_key, amount, currency, status, fraud_reasons, metadata,
    fee_basis_points, gateway_key, settled_at)
SELECT id, merchant, key, 1250, 'EUR', 'succeeded', '[]', '{}', 0, id, now() FROM made;
INSERT INTO payments_event (transaction_id, kind, actor) SELECT id, 'processing', 'api' FROM made;
INSERT INTO payments_event (transaction_id, kind, actor) SELECT id, 'succeeded', 'api' FROM made;
INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
SELECT event.id, made.id, leg.account, 'EUR', leg.amount
FROM made JOIN payments_event AS event ON event.transaction_id = made.id AND event.kind = 'succeeded',
    (VALUES ('gateway_clearing', 1250), ('merchant_payable', -1250)) AS leg(account, amount);
"""
LOCK_NEWEST = "SELECT FROM payments_transaction ORDER BY id DESC LIMIT 1 FOR UPDATE"


@pytest.fixture
def many(books: Books) -> Books:
    """More payments, so that there are several parts."""
    with psycopg.connect(session_server().url("postgres", books.name), autocommit=True) as connection:
        connection.execute(MANY)
    books.come_to_rest()
    assert books.findings() == []
    return books


def start(books: Books, stderr: int | None = None) -> subprocess.Popen[str]:
    before = datetime.now(UTC).isoformat()
    command = [sys.executable, "manage.py", "archive_payments", "--before", before, "--to", str(books.folder)]
    env = {**os.environ, **session_server().urls(books.name)}
    return subprocess.Popen(command, cwd=BASE_DIR, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)


@contextmanager
def holding(books: Books, lock: str) -> Iterator[None]:
    """Let the command wait at one place."""
    with psycopg.connect(session_server().url("postgres", books.name)) as connection:
        connection.execute(lock)
        yield


def waits(books: Books, seconds: float = 0) -> bool:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        " AND clock_timestamp() - query_start >= make_interval(secs => %s)"
    )
    return books.query(waiting, books.name, seconds) == [(1,)]


@pytest.mark.parametrize(
    ("lock", "files", "archives", "parts"),
    [
        ("LOCK TABLE payments_webhookattempt IN ACCESS EXCLUSIVE MODE", 0, 0, 0),
        ("LOCK TABLE payments_archive IN SHARE MODE", 1, 0, 0),
        ("LOCK TABLE payments_archivedpart IN SHARE MODE", 1, 1, 0),
        (LOCK_NEWEST, 1, 1, 2),
    ],
    ids=["exporting", "exported", "recorded", "half dropped"],
)
def test_a_killed_run_loses_nothing_and_is_taken_up(many: Books, lock, files, archives, parts):
    with holding(many, lock):
        killed = start(many)
        wait_until(lambda: waits(many), timeout=60, what="the command waits for the lock")
        killed.kill()
        killed.communicate()
        # The server notices only at the end of its statement that the client has gone.
        many.query("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    assert len(many.files()) == files
    assert many.query("SELECT count(*) FROM payments_archive") == [(archives,)]
    assert many.query("SELECT count(*) FROM payments_archivedpart") == [(parts,)]
    assert many.findings() == []

    said, _ = (again := start(many)).communicate(timeout=60)

    assert again.returncode == 0, said
    assert set(many.left().values()) == {0}
    assert many.query("SELECT count(*), sum(payments) FROM payments_archive") == [(1, PAYMENTS + 7)]
    assert many.findings() == []


def test_progress_that_cannot_be_written_stops_nothing(many: Books):
    reader, writer = os.pipe()
    os.close(reader)
    with holding(many, "LOCK TABLE payments_archivedpart IN SHARE MODE"):
        run = start(many, stderr=writer)
        wait_until(lambda: waits(many, seconds=1), timeout=60, what="the next part reports progress")
    os.close(writer)
    said, _ = run.communicate(timeout=60)

    assert (run.returncode, said.partition(" in ")[0]) == (0, f"Archived {PAYMENTS + 7:,} payments")
    assert set(many.left().values()) == {0}
