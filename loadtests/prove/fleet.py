"""Several web hosts and workers on one database: hosts are killed, added and removed, and clients use all of them."""

import http.client
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from threading import Lock
from typing import Any

from fintech.run.kpis import DRIFTS
from fintech.testing.processes import Platform, Reply, wait_until
from loadtests.own_platform import OwnPlatform

SHARED = ("DATABASE_URL", "DATABASE_OWNER_URL", "AUDIT_DIR")
# How many sets of counters the drifts leave out, which some do while hosts come and go.
UNSEEN = "kpi_unseen_epochs"
# Exported by the leading worker only.
LED = "ledger_transactions_total"
START_SECONDS = 120


def fake_clock(seconds: float) -> dict[str, str]:
    """Return the environment of programs whose clock differs by so many seconds. Timeouts stay exact."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert libraries, "libfaketime is not installed (apt install faketime)"
    faked = {"LD_PRELOAD": str(libraries[0]), "FAKETIME": f"{seconds:+g}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return faked | {"PYTHONPATH": str(Path(__file__).with_name("clocks"))}


def read_worker(host: Platform) -> dict[str, float]:
    """Return the samples of this host's worker; none if it has no worker, or if the worker does not answer."""
    if host.worker is None or not host.worker.alive:
        return {}
    try:
        return host.scrape(host.worker_port)
    except (OSError, http.client.HTTPException):
        return {}


def drifts(hosts: Sequence[Platform], *others: str) -> dict[str, float]:
    """Return the differences that the leading worker exports, and other metrics of it.

    A family that it could not measure is missing, and all are while no worker leads.
    """
    samples = [item for host in tuple(hosts) for item in read_worker(host).items()]
    return {name: value for name, value in samples if name.startswith((*DRIFTS, *others))}


def unmeasured(found: Iterable[str]) -> list[str]:
    """Return the families of differences of which there is no sample."""
    return [family for family in DRIFTS if not any(name.startswith(family) for name in found)]


def is_zero(found: Mapping[str, float]) -> bool:
    """Return True if each family was measured, and every difference is 0."""
    return not unmeasured(found) and not any(found.values())


class Fleet:
    """The hosts, each with a RUNTIME_DIR and ports of its own, as a balancer sees them.

    `own` is the platform of the first host. `settings` are those of all hosts.
    """

    def __init__(self, own: OwnPlatform, directory: Path, settings: Mapping[str, str]) -> None:
        self.own = own
        self.hosts = [own.platform]
        self.answers: Counter[str] = Counter()  # by status, or `no answer`
        self.acknowledged: list[str] = []  # ids of payments
        self._directory, self._settings = directory, dict(settings)
        self._random, self._lock = SystemRandom(), Lock()

    def add(self, name: str, *, worker: bool = False, clock: float = 0) -> Platform:
        directory = self._directory / name
        directory.mkdir()
        env = {setting: self.own.platform.env[setting] for setting in SHARED} | self._settings | {"HOST_ID": name}
        if clock:
            env |= fake_clock(clock)
        host = Platform(directory, gateway=self.own.gateway, workers=1, worker=worker, env=env)
        self.hosts.append(host)
        host.start()
        return host

    def remove(self, host: Platform) -> None:
        """Kill it by SIGKILL, for ever."""
        self.hosts.remove(host)
        host.kill()

    @staticmethod
    def restart(host: Platform) -> None:
        """Kill all of its processes by SIGKILL, and start them again with the same files."""
        host.kill()
        host.start()

    def kill_leader(self) -> None:
        """Kill the leading worker by SIGKILL, wait for the other one to lead, and start the first again."""
        leader = wait_until(self.leader, START_SECONDS, "one worker leads")
        assert leader.worker is not None
        leader.worker.kill()
        wait_until(lambda: self.leader() not in (None, leader), START_SECONDS, "another worker leads")
        leader.start()

    def leader(self) -> Platform | None:
        """Return the host whose worker leads."""
        return next((host for host in self.hosts if any(name.startswith(LED) for name in read_worker(host))), None)

    def stop(self) -> None:
        """Kill the hosts that were added."""
        for host in self.hosts[1:]:
            self.remove(host)

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        """Send a request to a random host, as a balancer does that does not know yet which hosts have gone."""
        host = self._random.choice(self.hosts)
        try:
            reply = host.request(method, path, body, **options)
        except (OSError, http.client.HTTPException):
            self._note("no answer")
            raise
        self._note(str(reply.status), reply.body["id"] if (reply.status, path) == (201, "/v1/transactions") else None)
        return reply

    def _note(self, answer: str, payment: str | None = None) -> None:
        with self._lock:
            self.answers[answer] += 1
            if payment is not None:
                self.acknowledged.append(payment)

    def counters(self) -> dict[str, int]:
        """Return `sum by (status) (transactions_total)` over all instances. Raise OSError if one does not answer."""
        total: Counter[str] = Counter()
        for host in self.hosts:
            ports = [host.metrics_port] + ([host.worker_port] if host.worker is not None else [])
            for name, value in ((name, value) for port in ports for name, value in host.scrape(port).items()):
                if name.startswith("transactions_total{"):
                    total[name.partition('status="')[2].partition('"')[0]] += round(value)
        return {status: number for status, number in total.items() if number}
