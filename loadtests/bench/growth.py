"""Measure a database of millions of payments beside an empty one. `make bench-growth ROWS=20000000`, or `--help`.

The rows are created in SQL, in a separate database: a year of payments of 200 merchants, each with its key, two events
and, if it succeeded, three ledger legs. Their ids are UUID v7 of their times, as in production. Measured are a vacuum
of each table, sizes, lists and searches through the real views, and the payments a second that pgbench stores and
settles with our two statements, each its own durable commit, here and in an empty database of the same server in turn.
"Busy" is the CPU time of Python and PostgreSQL together: on a shared machine, the rest was waiting.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from fintech.run.postgres import EmbeddedPostgres
from loadtests.argument_types import count, positive, share
from loadtests.bench.filled_database import administrator, connect, database, drop_indexes, measure, page, say
from loadtests.bench.pgbench import ROW, SETTLED, run_pgbench

MERCHANTS = 200
CHUNK = 250_000
# While the rows are created nothing must survive a crash; then the server starts again with the settings of production.
FILLING = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "max_wal_size": "3GB",
}
# Announcements of all events, each delivered once, as the worker makes them for a merchant with one endpoint.
WEBHOOKS = """
WITH endpoint AS (
    INSERT INTO payments_webhookendpoint (id, merchant_id, url, description, event_types, is_enabled, failures,
        created_at)
    SELECT uuidv7(), min(id), 'https://shop.example', '', '{}', true, 0, now() FROM payments_merchant RETURNING id
), announced AS (
    INSERT INTO payments_webhookevent (id, merchant_id, type, journal_id, at)
    SELECT uuidv7(), payment.merchant_id, 'payment.' || event.kind, event.id, event.at
    FROM payments_event AS event JOIN payments_transaction AS payment ON payment.id = event.transaction_id
    ORDER BY event.id RETURNING id
), delivered AS (
    INSERT INTO payments_webhookdelivery (endpoint_id, event_id, status, delivered_at)
    SELECT endpoint.id, announced.id, 'delivered', now() FROM endpoint, announced RETURNING id
)
INSERT INTO payments_webhookattempt (delivery_id, outcome, status_code, milliseconds, answer)
SELECT id, 'delivered', 200, 12, '' FROM delivered
"""
# The worker's marks: all is announced, and in the KPIs.
READ = """
UPDATE payments_webhookwatermark SET event_id = (SELECT max(id) FROM payments_event);
UPDATE payments_kpiwatermark SET event_id = (SELECT max(id) FROM payments_event)
"""
MEASURED = {"max_wal_size": "4GB", "shared_buffers": "2GB"}
EMPTY = "empty"  # a second database of the server
# Dropped during the filling, and built at its end. Other keys grow at their right end.
REBUILT = ("payments_idempotencykey",)

FILL = """
WITH made AS MATERIALIZED (
    SELECT uuidv7(at - clock_timestamp()) AS id, 1 + floor(%(merchants)s * power(random(), 2))::bigint AS merchant,
        gen_random_uuid() AS key, (100 + 20000 * power(random(), 3))::bigint AS amount, at,
        CASE WHEN chance < 0.9 THEN 'succeeded' WHEN chance < 0.98 THEN 'declined' ELSE 'failed' END AS status, n
    FROM (
        SELECT n, random() AS chance, now() - interval '365 days' * ((%(rows)s - n)::float8 / %(rows)s) AS at
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    ) AS drawn
), keys AS (
    INSERT INTO payments_idempotencykey (merchant_id, key, resource_id, kind)
    SELECT merchant, key::text, id, 'payment' FROM made
), stored AS (
    INSERT INTO payments_transaction (
        id, merchant_id, idempotency_key, amount, currency, status, fraud_score, fraud_reasons, failure_code, customer,
        reference, payment_method, metadata, fee_basis_points, fee, gateway, gateway_key, created_at, settled_at)
    SELECT id, merchant, key::text, amount, 'EUR', status, 0.1, '[]',
        CASE status WHEN 'declined' THEN 'insufficient_funds' WHEN 'failed' THEN 'gateway_error' END,
        'c_' || n %% 1000000, 'order-' || n, '{"type": "card", "token": "tok_visa"}', '{"basket": "9"}', 150,
        CASE status WHEN 'succeeded' THEN (amount * 150 + 5000) / 10000 ELSE 0 END, 'simulator', gen_random_uuid(),
        at, at + interval '80 ms'
    FROM made
), created AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor) SELECT id, 'processing', at, 'api' FROM made
), settled AS (
    INSERT INTO payments_event (transaction_id, kind, at, actor, data)
    SELECT id, status, at + interval '80 ms', 'api', '{"gateway": [{"outcome": "approved", "seconds": 0.08}]}' FROM made
    RETURNING id, transaction_id
)
INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
SELECT settled.id, made.id, leg.account, 'EUR', leg.amount
FROM made JOIN settled ON settled.transaction_id = made.id
CROSS JOIN LATERAL (VALUES ('gateway_clearing', made.amount),
    ('merchant_payable', (made.amount * 150 + 5000) / 10000 - made.amount),
    ('fees', -((made.amount * 150 + 5000) / 10000))) AS leg(account, amount)
WHERE made.status = 'succeeded' AND leg.amount <> 0
"""

SIZES = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid), greatest(reltuples, 0)::bigint FROM pg_class
WHERE relname = ANY(%s) ORDER BY pg_total_relation_size(oid) DESC
"""
INDEX_SIZES = """
SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes WHERE relname = ANY(%s)
ORDER BY 2 DESC
"""
TABLES = ["payments_transaction", "payments_event", "payments_ledgerleg", "payments_idempotencykey"]
WEBHOOK_TABLES = ["payments_webhookevent", "payments_webhookdelivery", "payments_webhookattempt"]
ARCHIVE_TABLES = ["payments_archivedpart", "payments_archivedtotal"]


def restart(server: EmbeddedPostgres, settings: dict[str, str]) -> None:
    from django.db import connections

    connections.close_all()
    for connection in connections.all():
        if connection.alias == "default":
            connection.close_pool()  # type: ignore[attr-defined] # Django's PostgreSQL has it
    server.stop("fast")
    server.settings = dict(settings)
    server.start()


def fill(server: EmbeddedPostgres, rows: int, minutes: float) -> int:
    """Create up to `rows` payments within `minutes`; return how many."""
    start = time.monotonic()
    done = 0
    with connect(server) as connection:
        connection.execute("SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '1GB'")
        connection.execute("SET maintenance_work_mem = '1GB'")
        definitions = drop_indexes(connection, TABLES) + drop_keys(connection)
        while done < rows and time.monotonic() - start < 60 * minutes:
            last = min(done + CHUNK, rows)
            connection.execute(FILL, {"merchants": MERCHANTS, "rows": rows, "first": done + 1, "last": last})
            done = last
            say(f"{done:,} payments, {time.monotonic() - start:.0f} s")
        for definition in definitions:
            connection.execute(definition)
            say(f"{definition[:60]}, {time.monotonic() - start:.0f} s")
        connection.execute("ANALYZE")
    say(f"filled in {time.monotonic() - start:.0f} s")
    return done


def drop_keys(connection: psycopg.Connection[Any]) -> list[str]:
    """Drop the primary keys of `REBUILT`. Return the statements that create them."""
    keys = connection.execute(
        "SELECT format('ALTER TABLE %%I DROP CONSTRAINT %%I', relname, conname),"
        " format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', relname, conname, pg_get_constraintdef(pg_constraint.oid))"
        " FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid WHERE relname = ANY(%s) AND contype = 'p'",
        [list(REBUILT)],
    ).fetchall()
    for drop, _ in keys:
        connection.execute(drop)
    return [create for _, create in keys]


# --- Insert rate -------------------------------------------------------------------------------------------------


def write_script(directory: Path, merchant: int, rows: int) -> Path:
    """Write a pgbench script: two prepared statements for `rows` payments with ids of this moment."""
    from payments.storage.payment_sql import CREATE_PAYMENTS, SETTLE_PAYMENTS

    lines = [
        f"\\set merchant {merchant}",
        f"SELECT array_agg(uuidv7()) AS ids FROM generate_series(1, {rows}) \\gset",  # noqa: S608 - our own number
    ]
    for name, statement, row in (("created", CREATE_PAYMENTS, ROW), ("settled", SETTLE_PAYMENTS, SETTLED)):
        one = row.replace("'gateway_key', {id}", "'gateway_key', md5(id::text)::uuid").replace("{id}", "id")
        array = f"(SELECT json_agg({one}) FROM unnest(:ids::uuid[]) AS id)"  # noqa: S608 - our own texts
        lines.append(statement.replace(f"%({name})s::json", array).replace("%(writer)s", "NULL") + ";")
    path = directory / f"growth-{rows}.pgbench"
    path.write_text("\n".join(lines) + "\n")
    return path


def insert_rates(script: Path, *, rows: int, clients: int, seconds: int, urls: list[str]) -> list[float]:
    """Return the payments a second in each database: the medians of three rounds, which take turns."""
    found: list[list[float]] = [[] for _ in urls]
    for _ in range(3):
        for url, rates in zip(urls, found, strict=True):
            result = run_pgbench(script, rows=rows, clients=clients, seconds=seconds, url=url)
            rates.append(result.payments)
    return [statistics.median(rates) for rates in found]


# --- Lists and searches ------------------------------------------------------------------------------------------


def pages(server: EmbeddedPostgres, merchant: int, token: str) -> dict[str, Callable[[], Any]]:
    """Return the requests by their names."""
    from django.test import Client

    with connect(server) as connection:
        middle = connection.execute(
            "SELECT id, idempotency_key, created_at, reference FROM payments_transaction WHERE merchant_id = %s"
            " AND id < uuidv7(interval '-180 days') ORDER BY id DESC LIMIT 1",
            [merchant],
        ).fetchone()
    assert middle is not None
    found_id, key, at, reference = middle
    person, program = administrator(), Client(headers={"authorization": f"Bearer {token}"})
    start = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    api = {
        "API: newest 50": "",
        "API: 200 from half a year ago": f"limit=200&created_before={start}",
        "API: status declined, half a year ago": f"status=declined&created_before={start}",
        "API: by idempotency key": f"idempotency_key={key}",
        "API: by reference, examines 10,000 payments": f"reference={reference}",
    }
    admin = {"admin: newest": "", "admin: search by id": f"q={found_id}", "admin: search by key": f"q={key}"}
    found = {name: page(program, f"/v1/transactions?{query}") for name, query in api.items()}
    found["API: one payment"] = page(program, f"/v1/transactions/{found_id}")
    return found | {name: page(person, f"/admin/payments/transaction/?{query}") for name, query in admin.items()}


# --- The report --------------------------------------------------------------------------------------------------


def report_rates(server: EmbeddedPostgres, directory: Path, merchant: int, seconds: int, number: int) -> None:
    urls = [server.url("app", name) for name in (EMPTY, "fintech")]
    print(f"\n| payments stored and settled per second | empty | with {number:,} payments | ratio |\n|---|---|---|---|")
    for name, rows, clients in (("one by one, 16 clients", 1, 16), ("groups of 32, 4 clients", 32, 4)):
        script = write_script(directory, merchant, rows)
        before, after = insert_rates(script, rows=rows, clients=clients, seconds=seconds, urls=urls)
        print(f"| {name} | {before:,.0f} | {after:,.0f} | {after / before:.2f} |", flush=True)


def report_sizes(connection: psycopg.Connection[Any], rows: int, tables: list[str]) -> None:
    print("\n| table | rows | table, GB | indexes, GB | bytes per payment |\n|---|---|---|---|---|")
    total = 0
    for name, table, indexes, number in connection.execute(SIZES, [tables]).fetchall():
        total += table + indexes
        gigabytes = f"{table / 1e9:.2f} | {indexes / 1e9:.2f}"
        print(f"| `{name}` | {number:,} | {gigabytes} | {(table + indexes) / rows:,.0f} |")
    print(f"| all | | {total / 1e9:.2f} | | {total / rows:,.0f} |")
    print("\n| index | GB |\n|---|---|")
    for name, size in connection.execute(INDEX_SIZES, [tables]).fetchall():
        print(f"| `{name}` | {size / 1e9:.2f} |")


def report_vacuum(connection: psycopg.Connection[Any]) -> None:
    print("\n| vacuum of | first, s | again, s |\n|---|---|---|")
    for name in TABLES:
        seconds = []
        for _ in range(2):
            start = time.monotonic()
            connection.execute(f"VACUUM (ANALYZE) {name}")
            seconds.append(time.monotonic() - start)
        print(f"| `{name}` | {seconds[0]:.1f} | {seconds[1]:.1f} |", flush=True)


def report_archive(server: EmbeddedPostgres, directory: Path, share: float) -> None:
    """Announce everything, archive the oldest payments, and print the rate and the sizes before and after."""
    from payments.archive.archive import archive

    tables = [*TABLES, *WEBHOOK_TABLES, *ARCHIVE_TABLES]
    with connect(server) as connection:
        connection.execute("SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '1GB'")
        connection.execute(WEBHOOKS)
        connection.execute(READ)
        connection.execute("VACUUM ANALYZE")
        (rows,) = connection.execute("SELECT count(*) FROM payments_transaction").fetchone() or (0,)
        report_sizes(connection, rows, tables)
        start = time.monotonic()
        before = datetime.now(UTC) - timedelta(days=365 * (1 - share))
        _, result = archive(before=before, directory=directory / "archives", by="bench", progress=lambda *_: None)
        seconds = time.monotonic() - start
        assert result is not None
        size = sum(path.stat().st_size for path in (directory / "archives").iterdir())
        print(f"\narchived {result.dropped:,} payments in {seconds:.0f} s: {result.dropped / seconds:,.0f} a second;"
            f" {size / result.dropped:.0f} bytes of the file per payment")  # fmt: skip
        connection.execute("VACUUM ANALYZE")
        report_sizes(connection, rows, tables)
        connection.execute("VACUUM FULL")
        print("\nafter VACUUM FULL:")
        report_sizes(connection, rows, tables)


def run(server: EmbeddedPostgres, directory: Path, options: argparse.Namespace) -> None:
    from payments.api_keys import create_api_key
    from payments.models import ApiKey, Merchant

    merchants = [Merchant.objects.create(name=f"Merchant {number}", country="DE") for number in range(MERCHANTS)]
    _, token = create_api_key(merchant=merchants[0], name="bench", scopes=[ApiKey.Scope.READ])
    merchant = merchants[0].pk
    restart(server, {**MEASURED, **FILLING})
    with connect(server, "postgres") as connection:
        connection.execute(f"CREATE DATABASE {EMPTY} TEMPLATE fintech OWNER owner")
    rows = fill(server, options.rows, options.minutes)
    restart(server, MEASURED)
    if options.pause:
        say(f"filled: waiting for {options.pause}")
        while not options.pause.exists():
            time.sleep(1)
    with connect(server) as connection:
        report_vacuum(connection)
        report_sizes(connection, rows, TABLES)
    print("\n| page | median ms | slowest ms | busy ms |\n|---|---|---|---|")
    for name, asked in pages(server, merchant, token).items():
        print(measure(asked, options.rounds, server).row(name), flush=True)
    report_rates(server, directory, merchant, options.seconds, rows)
    if options.archive:
        report_archive(server, directory, options.archive)
        report_rates(server, directory, merchant, options.seconds, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=count, default=20_000_000)
    parser.add_argument("--minutes", type=positive, default=600, help="stop the filling after this time")
    parser.add_argument("--seconds", type=count, default=8, help="duration of each measurement of inserts")
    parser.add_argument("--rounds", type=count, default=15)
    parser.add_argument("--archive", type=share, help="then archive this share of the year, such as 0.5")
    parser.add_argument("--pause", type=Path, help="measure only when this file exists, such as on a quiet machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fintech-growth-", dir=os.environ.get("TMPDIR")) as place:
        Path(place).chmod(0o755)
        with database(Path(place)) as server:
            run(server, Path(place), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
