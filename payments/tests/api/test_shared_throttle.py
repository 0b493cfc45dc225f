"""One limit for all hosts, in a real Redis; without it each host limits by itself and says so."""

import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from fintech.testing.processes import Platform, Program, free_port, wait_until
from payments import metrics
from payments.api.shared_throttling import SharedThrottle
from payments.api.throttling import Throttle
from payments.api_keys import create_api_key
from payments.models import Merchant
from payments.tests.conftest import ALL_SCOPES, Client

SERVER = shutil.which("valkey-server") or shutil.which("redis-server")

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(SERVER is None, reason="no Valkey or Redis is installed (apt install redis-server)"),
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


def test_payments_at_two_hosts_share_one_limit(server, tmp_path, gateway):
    limits = {"THROTTLE_RATE": "0.01", "THROTTLE_BURST": "10", "THROTTLE_URL": server.url}
    limits["THROTTLE_TIMEOUT_SECONDS"] = "10"  # a busy machine is not a server that is gone
    merchant = Merchant.objects.create(name=secrets.token_hex(12), country="DE")
    secret = create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)[1]
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first, second = (Platform(folder, gateway=gateway, workers=1, worker=False, env=limits) for folder in folders)
    with first, second:
        shops = [Client(platform, merchant, secret) for platform in (first, second)]
        statuses = [shops[number % 2].pay().status for number in range(24)]
        unshared = first.scrape()["throttle_fallbacks_total"] + second.scrape()["throttle_fallbacks_total"]

    assert unshared == 0
    assert sorted(statuses) == [201] * 10 + [429] * 14
