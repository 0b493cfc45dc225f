"""One limit for all hosts, in a real Valkey or Redis; without it each host limits by itself and says so."""

import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from fintech.testing.processes import Platform, Program, free_port, wait_until
from loadtests.tests.simulator import Simulator
from payments import metrics
from payments.api.shared_throttling import SharedThrottle
from payments.api.throttling import Throttle
from payments.api_keys import create_api_key
from payments.models import Merchant
from payments.tests.conftest import ALL_SCOPES, Client

SERVER = shutil.which("valkey-server") or shutil.which("redis-server")

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        SERVER is None,
        reason="no Valkey or Redis is installed (apt install valkey-server, or redis-server before Debian 13)",
    ),
]


class Server:
    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory)
        self.program = Program([str(SERVER), "--port", str(port), *options], log=directory / "redis.log")
        self.client = redis.Redis.from_url(self.url)
        self.program.start(ready=self.answers)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        self.client.close()
        self.program.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()


@pytest.fixture
def key_id() -> int:
    return secrets.randbelow(2**40)


def host(server: Server, folder: Path, *, rate: float = 0.01, burst: float = 6) -> SharedThrottle:
    own = Throttle(folder / "throttle", rate=rate, burst=burst)
    return SharedThrottle(server.url, own, rate=rate, burst=burst, timeout=30)


def fallbacks() -> float:
    return metrics.THROTTLE_FALLBACKS._value.get()


def test_two_hosts_together_allow_the_burst_once(server, tmp_path, key_id):
    hosts = [host(server, tmp_path / name) for name in ("a", "b")]
    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(lambda number: hosts[number % 2].take(key_id), range(40)))

    assert waits.count(0) == 6
    assert all(0 < wait <= 100 for wait in waits if wait)


def test_a_batch_counts_all_of_its_items_and_another_key_nothing(server, tmp_path, key_id):
    first, second = host(server, tmp_path / "a"), host(server, tmp_path / "b")

    assert first.take(key_id, 100) == 0
    assert second.take(key_id) == pytest.approx(9_500, abs=60)
    assert second.take(key_id + 1) == 0


def test_a_server_that_has_gone_leaves_each_host_its_own_limit(tmp_path, key_id):
    made = Server(tmp_path)
    throttle = host(made, tmp_path / "a")
    assert throttle.take(key_id) == 0
    made.program.kill()
    before = fallbacks()

    waits = [throttle.take(key_id) for _ in range(10)]

    assert waits.count(0) == 6
    assert fallbacks() == before + 10
    made.program.start(ready=made.answers)
    wait_until(lambda: shares(throttle, key_id), what="the shared counter is used again")
    made.stop()


def shares(throttle: SharedThrottle, key_id: int) -> bool:
    before = fallbacks()
    throttle.take(key_id)
    return fallbacks() == before


class Hosts:
    """Two web hosts that share a limit of ten payments, and whose time-out is longer than a busy machine stalls."""

    TIMEOUT_SECONDS = 5

    def __init__(self, server: Server, tmp_path: Path, gateway: Simulator) -> None:
        env = {"THROTTLE_RATE": "0.01", "THROTTLE_BURST": "10", "THROTTLE_URL": server.url}
        env["THROTTLE_TIMEOUT_SECONDS"] = str(self.TIMEOUT_SECONDS)
        folders = [tmp_path / name for name in ("a", "b")]
        for folder in folders:
            folder.mkdir()
        self.platforms = [Platform(folder, gateway=gateway, workers=1, worker=False, env=env) for folder in folders]

    def pay(self, times: int) -> list[int]:
        """Pay at both hosts in turn, for a new merchant. Return the statuses."""
        merchant = Merchant.objects.create(name=secrets.token_hex(12), country="DE")
        secret = create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)[1]
        shops = [Client(platform, merchant, secret) for platform in self.platforms]
        return sorted(shops[number % 2].pay().status for number in range(times))

    def fallbacks(self) -> float:
        return sum(platform.scrape()["throttle_fallbacks_total"] for platform in self.platforms)

    def share(self) -> bool:
        """Return True if a payment at each host was counted by the server."""
        before = self.fallbacks()
        return self.pay(2) == [201, 201] and self.fallbacks() == before


def test_two_hosts_share_a_limit_that_each_has_alone_while_the_server_is_dead(tmp_path, gateway):
    server = Server(tmp_path)
    hosts = Hosts(server, tmp_path, gateway)
    try:
        with hosts.platforms[0], hosts.platforms[1]:
            assert hosts.pay(24) == [201] * 10 + [429] * 14
            assert hosts.fallbacks() == 0

            server.program.kill()
            assert hosts.pay(24) == [201] * 20 + [429] * 4
            assert hosts.fallbacks() == 24

            server.program.start(ready=server.answers)
            wait_until(hosts.share, timeout=60, what="both hosts count at the server again")
            assert hosts.pay(24) == [201] * 10 + [429] * 14
    finally:
        server.stop()


def test_a_server_that_hangs_delays_one_request_by_the_time_out_and_not_the_next_ones(tmp_path, key_id):
    server = Server(tmp_path)
    own = Throttle(tmp_path / "throttle", rate=0.01, burst=100)
    throttle = SharedThrottle(server.url, own, rate=0.01, burst=100, timeout=3)
    try:
        assert throttle.take(key_id) == 0
        before = fallbacks()
        os.kill(server.program.pid, signal.SIGSTOP)

        began = time.monotonic()
        waits = [throttle.take(key_id) for _ in range(20)]
        took = time.monotonic() - began

        assert waits == [0] * 20
        assert fallbacks() == before + 20
        assert 3 <= took < 20 * 3
        os.kill(server.program.pid, signal.SIGCONT)
        wait_until(lambda: shares(throttle, key_id), timeout=30, what="the shared counter is used again")
    finally:
        server.stop()


def test_a_server_that_hangs_is_asked_once_by_a_request(key_id, tmp_path):
    """A second try doubled the time for which a request waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = Throttle(tmp_path / "throttle", rate=0.01, burst=6)
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        throttle = SharedThrottle(url, own, rate=0.01, burst=6, timeout=0.2)

        assert throttle.take(key_id) == 0

        listener.settimeout(0)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()
