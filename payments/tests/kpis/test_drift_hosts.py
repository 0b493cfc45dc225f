"""Several hosts on one database: all are compared, those that have gone are counted from the rows, and none twice."""

import secrets
import shutil
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from fintech.testing.databases import FAST
from fintech.testing.processes import Platform, wait_until
from payments.tests.own_platform import OwnPlatform, own_platform

pytestmark = [pytest.mark.slow, pytest.mark.processes]

ROLLUP_ROWS = """
SELECT count(*) FROM payments_kpirollup JOIN payments_writer ON payments_writer.id = writer_id WHERE epoch = %s
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPlatform]:
    directory = tmp_path_factory.mktemp("own")
    env = {"RETIRE_SECONDS": "1", "RETIRE_SCRAPES": "1", "HOST_ID": "first"}
    with own_platform(directory, postgres=FAST, workers=1, env=env) as running:
        yield running


def host(own: OwnPlatform, directory: Path, name: str = "second") -> Platform:
    """A web with a metrics folder of its own, on the same database."""
    directory.mkdir(exist_ok=True)
    shared = {name: own.platform.env[name] for name in ("DATABASE_URL", "DATABASE_OWNER_URL")}
    return Platform(directory, gateway=own.gateway, workers=1, worker=False, env={**shared, "HOST_ID": name})


def pay_at(own: OwnPlatform, where: Platform, times: int = 1, currency: str = "EUR") -> None:
    for _ in range(times):
        body = {"amount": 1250, "currency": currency, "customer": "c_1"}
        reply = where.request("POST", "/v1/transactions", body, api_key=own.api_key, key=secrets.token_hex(12))
        assert reply.status == 201, reply


def unseen(own: OwnPlatform) -> float | None:
    return own.platform.scrape(own.platform.worker_port).get("kpi_unseen_epochs")


def exported(own: OwnPlatform, *hosts: Platform) -> tuple[float, float]:
    """Return `sum(transactions_total)` and `sum(transaction_amount_sum)` over all instances, as Prometheus would."""
    number, revenue = 0.0, 0.0
    for port in (own.platform.worker_port, own.platform.metrics_port, *(one.metrics_port for one in hosts)):
        for name, value in own.platform.scrape(port).items():
            number += value if name.startswith("transactions_total{") else 0
            revenue += value if name.startswith("transaction_amount_sum{") else 0
    return number, revenue


def stored(own: OwnPlatform) -> tuple[float, float]:
    rows = own.rows()
    return sum(rows.count.values()), sum(rows.amount.values()) / 100


def sums_equal_rows(own: OwnPlatform, *hosts: Platform) -> bool:
    try:
        return exported(own, *hosts) == stored(own)
    except (OSError, HTTPException):
        return False


def is_zero(own: OwnPlatform) -> bool:
    found = own.platform.scrape(own.platform.worker_port)
    drifts = [value for name, value in found.items() if name.startswith("kpi_drift")]
    return bool(drifts) and not any(drifts)


def test_a_second_host_is_compared_when_it_registers_itself(own, tmp_path):
    """`kpi_drift` was 0 while one of two hosts was never compared."""
    with host(own, tmp_path / "second") as second:
        wait_until(lambda: unseen(own) == 0, timeout=60, what="both hosts are compared")
        pay_at(own, second, 3)
        second.metrics.kill()
        wait_until(lambda: unseen(own) == 1, timeout=60, what="the host whose exporter is gone is unseen")

        second.start()
        wait_until(lambda: unseen(own) == 0, timeout=60, what="both hosts are compared again")
        wait_until(lambda: is_zero(own), timeout=60, what="no drift on either host")
    wait_until(lambda: unseen(own) == 0, timeout=60, what="the host has gone, and only its rows remain")


def test_a_host_that_vanished_is_settled_from_its_rows_and_counted_once_when_it_returns(own, tmp_path):
    """`sum(transactions_total)` fell for ever when a pod was deleted."""
    second = host(own, tmp_path / "second")
    with second:
        pay_at(own, second, 3)
        pay_at(own, own.platform)
        wait_until(lambda: sums_equal_rows(own, second), timeout=60, what="all instances equal the rows")
        second.kill()
    wait_until(lambda: sums_equal_rows(own), timeout=90, what="the vanished host's counters come from its rows")

    with second:  # with its old files
        pay_at(own, second)
        wait_until(lambda: sums_equal_rows(own, second), timeout=90, what="the host that returned is counted once")
        wait_until(lambda: is_zero(own), timeout=60, what="no drift")


def test_the_rollup_does_not_grow_with_hosts_that_have_gone(own, tmp_path):
    second = host(own, tmp_path / "gone")
    for _ in range(3):  # runs of its processes
        with second:
            pay_at(own, second, 2)
            pay_at(own, second, currency="SEK")
            second.kill()
    (epoch,) = own.query("SELECT epoch FROM payments_writer ORDER BY id DESC LIMIT 1")[0]

    def is_set_apart() -> bool:
        return own.query(ROLLUP_ROWS, epoch) == [(0,)] and sums_equal_rows(own)

    wait_until(is_set_apart, timeout=120, what="the host has no rows in the rollup")
    retired = retired_series(own)
    with second:  # with its old files
        wait_until(lambda: sums_equal_rows(own, second), timeout=90, what="the host that returned is counted once")
        wait_until(lambda: own.query(ROLLUP_ROWS, epoch) != [(0,)], timeout=60, what="it has its rows again")
        pay_at(own, second)
        wait_until(lambda: sums_equal_rows(own, second), timeout=90, what="the next payment is counted")
        wait_until(lambda: is_zero(own), timeout=60, what="no drift")
        second.kill()
    wait_until(is_set_apart, timeout=120, what="the host has gone again")
    assert sum(retired_series(own).values()) > sum(retired.values())
    own.check_books()


def retired_series(own: OwnPlatform) -> dict[str, float]:
    found = own.platform.scrape(own.platform.worker_port)
    return {name: value for name, value in found.items() if 'retired="' in name}


def test_a_host_with_a_copy_of_the_metrics_files_is_refused(own, tmp_path):
    """Both hosts counted in one epoch, and ended each other's database sessions."""
    with host(own, tmp_path / "original", "original") as original:
        pay_at(own, original)
        wait_until(lambda: original.request("GET", "/ready").status == 200, timeout=30, what="the original serves")
        shutil.copytree(tmp_path / "original" / "runtime", tmp_path / "copy" / "runtime")

        with host(own, tmp_path / "copy", "copy") as copy:
            wait_until(lambda: copy.request("GET", "/ready").body.get("code") == "epoch_held", timeout=30)
            body = {"amount": 1250, "currency": "EUR"}
            refused = copy.request("POST", "/v1/transactions", body, api_key=own.api_key, key=secrets.token_hex(12))
            pay_at(own, original)

            assert (refused.status, refused.body["code"]) == (503, "database_unavailable")
            assert original.request("GET", "/ready").status == 200
