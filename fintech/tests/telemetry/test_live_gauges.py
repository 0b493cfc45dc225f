"""Live gauges of the real gunicorn: they count the workers that live, whatever became of the others."""

import signal

import pytest

from fintech.testing.processes import Platform, wait_until

pytestmark = pytest.mark.processes

CAPACITY = 3


@pytest.mark.parametrize(("sent", "left"), [(signal.SIGHUP, 2), (signal.SIGTTOU, 1)])
def test_workers_that_have_left_are_not_counted(tmp_path, sent, left):
    """After a reload twice the capacity was counted, and PaymentsSaturated could never fire."""
    with Platform(tmp_path, workers=2, worker=False, env={"WEB_CAPACITY": str(CAPACITY)}) as platform:
        wait_until(
            lambda: platform.scrape().get("web_capacity") == 2 * CAPACITY, timeout=30, what="both workers are up"
        )
        pids = set(platform.worker_pids())
        platform.web.process.send_signal(sent)
        gone = 2 if sent == signal.SIGHUP else 1
        wait_until(lambda: len(pids - set(platform.worker_pids())) == gone, timeout=60, what="the old ones have left")

        wanted = left * CAPACITY
        wait_until(lambda: platform.scrape().get("web_capacity") == wanted, timeout=30, what="only live workers count")
