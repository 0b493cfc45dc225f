"""A standby is promoted while merchants pay: no acknowledged payment is lost, and service is back within seconds."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.databases import migrated_server
from fintech.testing.processes import Platform, wait_until
from fintech.testing.replication import promote, start_standby, url_of_both
from loadtests.tests.simulator import running_gateway
from payments.settlement.group_commit import PaymentWriter
from payments.tests.crash.test_crash_postgres import SHORT, Shops, check, same_processes
from payments.tests.own_platform import OwnPlatform, manage

# As durable as in production against a crash of PostgreSQL. A crash of the machine is not simulated.
SERVER = {"fsync": "off"}


@contextmanager
def replicated_platform(directory: Path) -> Iterator[tuple[OwnPlatform, EmbeddedPostgres]]:
    """A platform on a primary, and its synchronous standby. Both are in the address of the database."""
    # Not below the test's directory: the server's account could not pass through it.
    with tempfile.TemporaryDirectory(prefix="fintech-own-") as place, running_gateway(directory) as gateway:
        primary = migrated_server(Path(place), SERVER)
        servers = [primary]
        try:
            primary.start()
            standby = start_standby(primary, synchronous=True)
            servers.append(standby)
            roles = {"DATABASE_URL": "app", "DATABASE_OWNER_URL": "owner"}
            env = {name: url_of_both(standby, primary, role, "fintech") for name, role in roles.items()}
            platform = Platform(
                directory, gateway=gateway, workers=2, env={**env, **SHORT, "AUDIT_DIR": str(directory / "audit")}
            )
            code, printed = manage(platform.env, "bootstrap", f"--out={directory}")
            assert code == 0, printed
            with platform:
                yield OwnPlatform(primary, gateway, platform, (directory / "api_key").read_text().strip()), standby
        finally:
            for server in reversed(servers):
                server.stop("immediate")


@pytest.mark.processes
@pytest.mark.slow
def test_no_acknowledged_payment_is_lost_when_the_standby_is_promoted(tmp_path, capsys):
    with replicated_platform(tmp_path) as (own, standby), same_processes(own):
        with Shops(own) as shops:
            wait_until(shops.flows, timeout=30, what="payments flow")
            own.server.stop("immediate")  # the old primary never answers again
            since = len(shops.answers)
            promote(standby)
            start = time.monotonic()
            wait_until(partial(shops.flows, since), timeout=30, what="payments flow again")
            seconds = time.monotonic() - start
        own.server = standby
        check(own, shops.answers)
        wait_until(lambda: has_no_drift(own), timeout=60, what="drift and balance are measured, and 0")
        code, printed = own.manage("verify_audit")
        assert code == 0, printed
    errors = sum(answer.status == 503 for answer in shops.answers)
    with capsys.disabled():
        print(f"\n{len(shops.answers)} payments, {errors} answers of 503; forty paid {seconds:.1f} s after promotion")


def has_no_drift(own: OwnPlatform) -> bool:
    """Compare what the leader measures since the failover: its folds have forgotten the lost server."""
    names = ("kpi_drift", "ledger_imbalance", "gateway_drift")
    samples = own.platform.scrape(own.platform.worker_port)
    found = [value for name, value in samples.items() if name.startswith(names)]
    return all(any(name.startswith(one) for name in samples) for one in names) and not any(found)


def test_a_server_that_only_reads_is_unavailable_and_its_connection_is_not_used_again():
    """A demoted primary refuses a write with an error that was taken for the fault of a row."""
    writer = PaymentWriter()
    connection = writer._connected()
    connection.execute("SET default_transaction_read_only = on")

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        writer.settle([])
    writer.settle([])

    assert connection.closed
    writer.disconnect()
