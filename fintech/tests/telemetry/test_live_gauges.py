"""Live gauges of the real gunicorn: they count the workers that live, whatever became of the others."""

import signal

import pytest

from fintech.testing.processes import Platform, wait_until

pytestmark = pytest.mark.processes

CAPACITY = 3


def test_workers_that_have_left_are_not_counted(tmp_path):
    """After a reload twice the capacity was counted, and PaymentsSaturated could never fire."""
    with Platform(tmp_path, workers=2, worker=False, env={"WEB_CAPACITY": str(CAPACITY)}) as platform:

        def wait_for(workers: int) -> None:
            wanted = workers * CAPACITY
            wait_until(lambda: platform.scrape().get("web_capacity") == wanted, timeout=30, what=f"{workers} count")

        def send(number: int, *, leave: int) -> None:
            pids = set(platform.worker_pids())
            platform.web.process.send_signal(number)
            wait_until(lambda: len(pids - set(platform.worker_pids())) == leave, timeout=60, what="the old ones leave")

        wait_for(2)
        send(signal.SIGHUP, leave=2)
        wait_for(2)
        send(signal.SIGTTOU, leave=1)
        wait_for(1)
