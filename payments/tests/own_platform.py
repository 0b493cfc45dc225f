"""The platform of `loadtests.own_platform`, with comparisons of counters, rows and books.

For tests that restart the database, and for those that need to know every payment in it.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alerts_audit.tests.seal.trails import on_database
from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.databases import server_with_accounts
from fintech.testing.processes import Platform, wait_until
from fintech.testing.replication import start_standby, url_of_both
from loadtests import own_platform as base
from loadtests.own_platform import manage
from loadtests.tests.simulator import running_gateway
from payments.gateway.http_gateway import HttpGateway
from payments.kpis.scrape import Counters, scrape
from payments.kpis.totals import Totals
from payments.ledger.consistency import check_ledger
from payments.ledger.reconciliation import reconcile

__all__ = ["OwnPlatform", "manage", "own_platform", "replicated_platform"]


class OwnPlatform(base.OwnPlatform):
    """`pay` and its like speak for one merchant."""

    def kill_worker_and_exporter(self) -> None:
        """SIGKILL, and start them again."""
        for program in (self.platform.worker, self.platform.metrics):
            assert program is not None
            program.kill()
        self.platform.start()

    def counters(self) -> Counters:
        """Raw, the jobs summed."""
        counters = Counters()
        for port in (self.platform.metrics_port, self.platform.worker_port):
            counters.add(scrape(f"http://127.0.0.1:{port}/metrics"))
        return counters

    def counters_equal_rows(self) -> bool:
        counted, stored = self.counters().totals, self.rows()
        return (+Counter(counted.count), +Counter(counted.amount)) == (Counter(stored.count), Counter(stored.amount))

    def rows(self) -> Totals:
        totals = Totals()
        final = "SELECT status, count(*) FROM payments_transaction WHERE settled_at IS NOT NULL GROUP BY status"
        totals.count.update(dict(self.query(final)))
        sold = "SELECT currency, sum(amount)::bigint FROM payments_transaction WHERE status = 'succeeded' GROUP BY 1"
        totals.amount.update(dict(self.query(sold)))
        return totals

    def settled(self, within: float = 20) -> None:
        """Wait until nothing is open."""

        def nothing_left() -> bool:
            return self.query("SELECT count(*) FROM payments_unresolved") == [(0,)]

        wait_until(nothing_left, timeout=within, what="nothing is unresolved")

    def check_books(self) -> None:
        """Check everything as an operator's commands do, and expect no finding."""
        with on_database(self.platform.env, Path(self.platform.env["AUDIT_DIR"])):
            findings = [finding for _, found in check_ledger() for finding in found]
            findings += reconcile(HttpGateway(self.gateway.url, self.gateway.token)).findings
        assert not findings, findings


@contextmanager
def own_platform(
    directory: Path, *, postgres: Mapping[str, str], workers: int = 2, env: Mapping[str, str] | None = None
) -> Iterator[OwnPlatform]:
    """`postgres` are the server's settings; without any, it is as durable as in production."""
    with base.own_platform(directory, postgres=postgres, workers=workers, env=env) as own:
        yield OwnPlatform(own.server, own.gateway, own.platform, own.api_key)


@contextmanager
def replicated_platform(
    directory: Path, *, synchronous: bool, replica: bool = False, env: Mapping[str, str] | None = None
) -> Iterator[tuple[OwnPlatform, EmbeddedPostgres]]:
    """A platform on a primary, and its standby. Both are in the address of the database.

    With `replica`, lists and exports are read from the standby. The servers are as durable as in production against a
    crash of PostgreSQL; a crash of the machine is not simulated.
    """
    # Not below the test's directory: the server's account could not pass through it.
    with tempfile.TemporaryDirectory(prefix="fintech-own-") as place, running_gateway(directory) as gateway:
        primary = server_with_accounts(Path(place), {"fsync": "off"}, directory)
        servers = [primary]
        try:
            primary.start()
            standby = start_standby(primary, synchronous=synchronous)
            servers.append(standby)
            roles = {"DATABASE_URL": "app", "DATABASE_OWNER_URL": "owner"}
            addresses = {name: url_of_both(standby, primary, role, "fintech") for name, role in roles.items()}
            if replica:
                addresses["DATABASE_REPLICA_URL"] = addresses["DATABASE_URL"]
            own_env = {**addresses, "AUDIT_DIR": str(directory / "audit"), **(env or {})}
            platform = Platform(directory, gateway=gateway, workers=2, env=own_env)
            with platform:
                yield OwnPlatform(primary, gateway, platform, (directory / "api_key").read_text().strip()), standby
        finally:
            for server in reversed(servers):
                server.stop("immediate")
