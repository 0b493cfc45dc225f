"""A platform with its own PostgreSQL server and simulator, without payments of other tests.

For tests that restart the database, and for those that need to know every payment in it. Checked from outside: over
HTTP, by `manage.py`, and by SQL over a separate connection.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.databases import migrated_server
from fintech.testing.processes import BASE_DIR, Platform, Reply, wait_until
from loadtests.tests.simulator import Simulator, running_gateway
from payments import kpis


class OwnPlatform:
    """`pay` and its like speak for one merchant."""

    def __init__(self, server: EmbeddedPostgres, gateway: Simulator, platform: Platform, api_key: str) -> None:
        self.server, self.gateway, self.platform, self.api_key = server, gateway, platform, api_key

    def pay(self, amount: int = 1250, currency: str = "EUR", *, key: str | None = None, timeout: float = 30) -> Reply:
        body = {"amount": amount, "currency": currency, "customer": "c_1"}
        key = key or secrets.token_hex(12)
        path = "/v1/transactions"
        return self.platform.request("POST", path, body, api_key=self.api_key, key=key, timeout=timeout)

    def refund(self, payment: str, amount: int, *, key: str) -> Reply:
        path = f"/v1/transactions/{payment}/refunds"
        return self.platform.request("POST", path, {"amount": amount}, api_key=self.api_key, key=key)

    def pay_batch(self, payments: Sequence[tuple[int, str]]) -> Reply:
        items = [
            {"amount": amount, "currency": currency, "idempotency_key": secrets.token_hex(12)}
            for amount, currency in payments
        ]
        return self.platform.request("POST", "/v1/transactions/batch", {"items": items}, api_key=self.api_key)

    def kill_worker_and_exporter(self) -> None:
        """SIGKILL, and start them again."""
        for program in (self.platform.worker, self.platform.metrics):
            assert program is not None
            program.kill()
        self.platform.start()

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url("postgres", "fintech"), autocommit=True) as connection:
            return connection.execute(statement, values or None).fetchall()

    def manage(self, *arguments: str) -> tuple[int, str]:
        """The exit code of `manage.py ...`, and what it printed."""
        return manage(self.platform.env, *arguments)

    def counters(self) -> kpis.Counters:
        """Raw, the jobs summed."""
        counters = kpis.Counters()
        for port in (self.platform.metrics_port, self.platform.worker_port):
            counters.add(kpis.scrape(f"http://127.0.0.1:{port}/metrics"))
        return counters

    def counters_equal_rows(self) -> bool:
        counted, stored = self.counters().totals, self.rows()
        return (+Counter(counted.count), +Counter(counted.amount)) == (Counter(stored.count), Counter(stored.amount))

    def rows(self) -> kpis.Totals:
        totals = kpis.Totals()
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

    def audit(self) -> None:
        """Run an operator's commands over everything, and expect no finding."""
        for command in ("audit_ledger", "reconcile"):
            code, printed = self.manage(command, "--json")
            assert (code, json.loads(printed)["findings"]) == (0, [])


@contextmanager
def own_platform(
    directory: Path, *, postgres: Mapping[str, str], workers: int = 3, env: Mapping[str, str] | None = None
) -> Iterator[OwnPlatform]:
    """`postgres` are the server's settings; without any, it is as durable as in production."""
    # Not below the test's directory: the server's account could not pass through it.
    with tempfile.TemporaryDirectory(prefix="fintech-own-") as place, running_gateway(directory) as gateway:
        server = migrated_server(Path(place), postgres)
        try:
            server.start()
            own = {**server.urls("fintech"), "AUDIT_DIR": str(directory / "audit"), **(env or {})}
            platform = Platform(directory, gateway=gateway, workers=workers, env=own)
            code, printed = manage(platform.env, "bootstrap", f"--out={directory}")
            assert code == 0, printed
            with platform:
                yield OwnPlatform(server, gateway, platform, (directory / "api_key").read_text().strip())
        finally:
            server.stop("immediate")


def manage(env: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    command: Sequence[str] = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=BASE_DIR, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout or done.stderr
