"""The worker's background jobs: each app's config lists its jobs (`worker_jobs`), which run in threads.

Each job has its own thread, so that a slow one does not delay others. Several workers may run. The one that holds the
leader lock runs the jobs that must run once, and exports the metrics that are read from the database.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from django.apps import apps
from django.db import connection
from prometheus_client import Counter, Gauge

from fintech.database.connections import open_connection
from fintech.errors import DATABASE_ERRORS, Unavailable

logger = logging.getLogger("fintech.jobs")

Item = TypeVar("Item")

LEADER_LOCK = 0x7061796D656E7473  # "payments", for pg_try_advisory_lock
CHECK_SECONDS = 1.0
# A leader that lost its session, and with it the lock, notices it at its next check. Until then, no other one leads.
TAKEOVER_SECONDS = 2 * CHECK_SECONDS

JOB_ERRORS = Counter("worker_job_errors_total", "Failed runs of a job.", ["job"])
JOB_SUCCESS = Gauge("worker_job_last_success_timestamp_seconds", "When a job last succeeded.", ["job"])


@dataclass
class Job:
    """A job that runs every `seconds`. A failure is counted, logged and retried at the next run.

    `leader`: only in the leading worker.
    """

    name: str
    seconds: float
    run: Callable[[], Any]
    leader: bool = False


class Leader:
    """The leader lock, held by one worker in a session of its own.

    A session of a pool would keep it for another worker.
    """

    def __init__(self) -> None:
        self.leading = False
        self.before_leading: list[Callable[[], Any]] = []
        self._session: psycopg.Connection[Any] | None = None
        self._has_lock = False
        self._earliest = 0.0

    def keep(self) -> None:
        """Take the lock, or check it. It ends with its session."""
        try:
            if self._session is None:
                self._session = open_connection("leader")
            if self._has_lock:
                self._session.execute("SELECT 1")  # a lost session is a lost lock
            else:
                self._take_lock(self._session)
            if self._has_lock and not self.leading and time.monotonic() >= self._earliest:
                self._lead()
        except DATABASE_ERRORS:
            self.resign()

    def _take_lock(self, session: psycopg.Connection[Any]) -> None:
        row = session.execute("SELECT pg_try_advisory_lock(%s)", [LEADER_LOCK]).fetchone()
        self._has_lock = row == (True,)
        if not self._has_lock:
            self._earliest = time.monotonic() + TAKEOVER_SECONDS

    def _lead(self) -> None:
        for prepare in self.before_leading:
            prepare()
        self.leading = True
        logger.info("leading")

    def resign(self) -> None:
        self.leading = self._has_lock = False
        if self._session is not None:
            self._session.close()
            self._session = None


class Worker:
    """Runs all jobs until `stop` is set."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.leader = Leader()
        self.before_metrics: list[Callable[[], Any]] = []  # must succeed before the first scrape is answered
        self.at_end: list[Callable[[], Any]] = []
        self._jobs: list[Job] = []
        for config in apps.get_app_configs():
            self._jobs += getattr(config, "worker_jobs", lambda worker: [])(self)

    def run(self) -> None:
        threads = [threading.Thread(target=self._loop, args=[job], name=job.name) for job in self._jobs]
        threads.append(threading.Thread(target=self._lead, name="leader"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for tidy_up in self.at_end:
            tidy_up()

    def _loop(self, job: Job) -> None:
        JOB_ERRORS.labels(job.name)
        while not self.stop.is_set():
            if job.leader and not self.leader.leading:
                self.stop.wait(min(0.5, job.seconds))  # a new leader begins at once
                continue
            start = time.monotonic()
            self._turn(job)
            self.stop.wait(max(0.0, job.seconds - (time.monotonic() - start)))

    def _turn(self, job: Job) -> None:
        try:
            job.run()
            JOB_SUCCESS.labels(job.name).set_to_current_time()
        except Exception as error:
            JOB_ERRORS.labels(job.name).inc()
            trace = None if isinstance(error, (*DATABASE_ERRORS, Unavailable)) else error
            logger.warning("job_failed", exc_info=trace, extra={"job": job.name, "error": str(error)[:200]})
        finally:
            connection.close()

    def _lead(self) -> None:
        while not self.stop.is_set():
            self.leader.keep()
            self.stop.wait(CHECK_SECONDS)
        self.leader.resign()


def growing_pause(attempts: int, *, most: float, first: float = 0.5) -> float:
    """Return the seconds until the next attempt: they double, from `first` up to `most`."""
    return min(most, first * 2 ** min(attempts, 20))  # 2 ** 1024 does not fit into a float


def share_out(threads: ThreadPoolExecutor, work: Callable[[Item], Any], items: Sequence[Item]) -> int:
    """Do `work`, which may take seconds, for each item in a thread. Returns their number.

    Waits for all, also if one fails: the next turn must not find an item that still waits for a thread.
    """

    def turn(item: Item) -> None:
        try:
            work(item)
        finally:
            connection.close()  # it belongs to this thread, and no request closes it

    connection.close()
    turns = [threads.submit(turn, item) for item in items]
    wait(turns)
    for done in turns:
        done.result()
    return len(items)
