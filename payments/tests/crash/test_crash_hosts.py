"""Three web hosts and two workers on one database: hosts are killed, added and removed for ever while merchants pay."""

import secrets
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path
from random import Random

import pytest

from fintech.testing.databases import FAST
from fintech.testing.processes import IN_FULL, Load, Platform, Reply, wait_until
from payments.kpis.exporters import scrape
from payments.tests.own_platform import OwnPlatform, own_platform

pytestmark = [pytest.mark.slow, pytest.mark.processes]

SHORT = {"GATEWAY_TIMEOUT_SECONDS": "1", "GATEWAY_DEADLINE_SECONDS": "2", "LEASE_SECONDS": "3"}
SHORT |= {"RETIRE_SECONDS": "1", "RETIRE_SCRAPES": "1"}
PAYMENTS = [*[(1250, "EUR"), (3900, "JPY")] * 4, (1901, "EUR"), (1911, "EUR"), (1922, "EUR"), (1924, "JPY")]
SHOPS = 4
ROUNDS = 20 if IN_FULL else 1


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnPlatform]:
    with own_platform(tmp_path, postgres=FAST, workers=1, env=SHORT) as running:
        yield running


class Fleet(Load):
    """The hosts behind a balancer, and merchants that try again on any host until they have an answer."""

    def __init__(self, own: OwnPlatform, directory: Path) -> None:
        super().__init__([partial(self._shop, Random(seed)) for seed in range(SHOPS)])
        self._own, self._directory = own, directory
        self.hosts = [own.platform]
        self.answers: list[Reply] = []

    def add(self, name: str, *, worker: bool = False) -> Platform:
        directory = self._directory / name
        directory.mkdir()
        shared = ("DATABASE_URL", "DATABASE_OWNER_URL", "AUDIT_DIR", *SHORT)
        env = {setting: self._own.platform.env[setting] for setting in shared} | {"HOST_ID": name}
        host = Platform(directory, gateway=self._own.gateway, workers=1, worker=worker, env=env)
        host.start()
        self.hosts.append(host)
        return host

    def remove(self, host: Platform) -> None:
        """SIGKILL to all of it, and it never returns."""
        self.hosts.remove(host)
        host.kill()

    def _shop(self, random: Random) -> None:
        while not self.stopped.is_set():
            amount, currency = random.choice(PAYMENTS)
            body = {"amount": amount, "currency": currency, "customer": "c_1"}
            self.answers.append(self._insist(random, body, secrets.token_hex(12)))

    def _insist(self, random: Random, body: object, key: str) -> Reply:
        for _ in range(1_000):
            host = random.choice(self.hosts)
            try:
                reply = host.request("POST", "/v1/transactions", body, api_key=self._own.api_key, key=key)
            except (OSError, HTTPException):
                self.stopped.wait(0.02)
                continue
            if reply.status not in (409, 503):
                return reply
            self.stopped.wait(0.05)
        raise AssertionError("no answer")

    def sums_equal_rows(self) -> bool:
        """Compare `sum(transactions_total)` over all instances, retired ones included, with the rows."""
        try:
            scrapes = [host.scrape(host.metrics_port) for host in self.hosts]
            scrapes += [host.scrape(host.worker_port) for host in self.hosts if host.worker is not None]
        except (OSError, HTTPException):
            return False
        samples = [(name, value) for scrape in scrapes for name, value in scrape.items()]
        counted = sum(value for name, value in samples if name.startswith("transactions_total{"))
        rows = self._own.rows()
        return bool(counted == sum(rows.count.values()))

    def drifts(self) -> list[float]:
        """Return the drifts that the leader exports; it alone does."""
        leaders = [host for host in self.hosts if host.worker is not None and host.worker.alive]
        scrapes = [host.scrape(host.worker_port) for host in leaders]
        return [value for scrape in scrapes for name, value in scrape.items() if name.startswith("kpi_drift")]

    def kill_leader(self) -> None:
        """SIGKILL to the leading worker; the other takes over, and the first starts again."""
        (leader,) = wait_until(self._leading, timeout=60, what="one worker leads")
        assert leader.worker is not None
        leader.worker.kill()
        wait_until(lambda: self._leading() not in (None, [leader]), timeout=60, what="the other worker leads")
        leader.start()

    def _leading(self) -> list[Platform] | None:
        workers = [host for host in self.hosts if host.worker is not None and host.worker.alive]
        leading = [host for host in workers if "ledger_transactions_total" in scrape(self._worker_url(host))]
        return leading or None

    @staticmethod
    def _worker_url(host: Platform) -> str:
        return f"http://127.0.0.1:{host.worker_port}/metrics"


def test_counters_equal_rows_while_hosts_come_and_go(own, tmp_path, capsys):
    with Fleet(own, tmp_path) as fleet:
        try:
            second = fleet.add("second", worker=True)
            third = fleet.add("third")
            for number in range(ROUNDS):
                second.kill()
                second.start()
                fleet.kill_leader()
                fleet.remove(third)
                third = fleet.add(f"new-{number}")
            fleet.stopped.set()
            own.settled(within=60)

            wait_until(fleet.sums_equal_rows, timeout=120, what="all instances and the retired hosts equal the rows")
            wait_until(lambda: (found := fleet.drifts()) and not any(found), timeout=60, what="no drift")
            own.audit()
            code, printed = own.manage("verify_audit")
            assert code == 0, printed
        finally:
            fleet.stopped.set()
            for host in fleet.hosts[1:]:
                host.kill()
    assert [answer.body for answer in fleet.answers if answer.status not in (200, 201, 202)] == []
    with capsys.disabled():
        print(
            f"\n{len(fleet.answers)} payments over {ROUNDS + 2} web hosts; counters = rows = {dict(own.rows().count)}"
        )
