"""Several hosts on one database: those whose counters nothing compares are counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fintech.testing.databases import FAST
from fintech.testing.processes import Platform, wait_until
from payments.tests.own_platform import OwnPlatform, own_platform

pytestmark = [pytest.mark.slow, pytest.mark.processes]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnPlatform]:
    with own_platform(tmp_path, postgres=FAST, workers=1) as running:
        yield running


def second_host(own: OwnPlatform, directory: Path) -> Platform:
    """A web with a metrics folder of its own, on the same database."""
    directory.mkdir()
    database = {name: own.platform.env[name] for name in ("DATABASE_URL", "DATABASE_OWNER_URL")}
    return Platform(directory, workers=1, worker=False, env=database)


def unseen(own: OwnPlatform) -> float | None:
    return own.platform.scrape(own.platform.worker_port).get("kpi_unseen_epochs")


def test_a_second_host_is_unseen_until_the_worker_reads_its_exporter(own, tmp_path):
    """`kpi_drift` was 0 while one of two hosts was never compared."""
    wait_until(lambda: unseen(own) == 0, timeout=60, what="the only host is compared")
    with second_host(own, tmp_path / "second") as second:
        wait_until(lambda: unseen(own) == 1, timeout=60, what="the second host is unseen")

        worker = own.platform.worker
        assert worker is not None
        worker.stop()
        worker.env["OTHER_METRICS_URLS"] = f"http://127.0.0.1:{second.metrics_port}/metrics"
        own.platform.start()
        wait_until(lambda: unseen(own) == 0, timeout=60, what="both hosts are compared")


def test_a_host_that_has_gone_is_no_longer_unseen(own, tmp_path):
    with second_host(own, tmp_path / "second"):
        wait_until(lambda: unseen(own) == 1, timeout=60, what="the second host is unseen")
    wait_until(lambda: unseen(own) == 0, timeout=60, what="the host has gone, and only its rows remain")
