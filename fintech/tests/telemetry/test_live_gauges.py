"""Gauges of the real gunicorn: they count the workers that live, whatever became of the others, and show its start."""

import signal
from collections.abc import Callable

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


def test_the_start_time_changes_with_the_server_and_not_with_its_workers(tmp_path):
    """The alert on a process that keeps restarting read a metric that the web did not have."""
    with Platform(tmp_path, workers=1, worker=False) as platform:

        def replaced_by(action: Callable[[], object]) -> None:
            before = platform.worker_pids()
            action()
            wait_until(lambda: len(set(platform.worker_pids()) - set(before)) == 1, timeout=60, what="a new process")
            wait_until(lambda: len(platform.worker_pids()) == 1, timeout=60, what="the old one leaves")

        started = platform.scrape()["web_start_time_seconds"]
        replaced_by(lambda: platform.web.process.send_signal(signal.SIGHUP))
        replaced_by(platform.kill_one_worker)
        assert platform.scrape()["web_start_time_seconds"] == started

        platform.web.stop()
        platform.start()
        assert platform.scrape()["web_start_time_seconds"] > started
