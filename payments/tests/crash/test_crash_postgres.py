"""PostgreSQL restarts under load, in order and by a crash: what was acknowledged is there, and all recovers by itself.

The server has its production settings here: durability is what is tested.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from functools import partial
from http.client import HTTPException

import psutil
import pytest

from fintech.testing.processes import Load, Reply, wait_until
from payments.tests.own_platform import OwnPlatform, own_platform

pytestmark = pytest.mark.processes

SHOPS = 8
SHORT = {"GATEWAY_TIMEOUT_SECONDS": "1", "GATEWAY_DEADLINE_SECONDS": "2", "LEASE_SECONDS": "3"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPlatform]:
    with own_platform(tmp_path_factory.mktemp("own"), postgres={}, workers=2, env=SHORT) as running:
        yield running


class Shops(Load):
    """Shops that pay continuously, each payment with its own key, and record the answers."""

    def __init__(self, own: OwnPlatform) -> None:
        super().__init__([self._shop] * SHOPS)
        self._own = own
        self.answers: list[Reply] = []

    def _shop(self) -> None:
        while not self.stopped.is_set():
            try:
                self.answers.append(self._own.pay())
            except (OSError, HTTPException) as error:
                self.answers.append(Reply(0, repr(error), Message()))
            if self.answers[-1].status != 201:
                self.stopped.wait(0.05)

    def flows(self, since: int = 0) -> bool:
        return sum(answer.status == 201 for answer in self.answers[since:]) >= 5 * SHOPS

    def has_more_than(self, number: int) -> bool:
        return len(self.answers) > number


@contextmanager
def same_processes(own: OwnPlatform) -> Iterator[None]:
    """Nothing was restarted to get over it."""

    def processes() -> set[int]:
        programs = (own.platform.web, own.platform.worker, own.platform.metrics)
        parents = [psutil.Process(program.pid) for program in programs if program is not None]
        return {process.pid for parent in parents for process in (parent, *parent.children(recursive=True))}

    before = processes()
    yield
    assert processes() == before


def check(own: OwnPlatform, answers: list[Reply]) -> None:
    """Check that every answer is still true, and that the books and the counters agree."""
    assert {answer.status for answer in answers} <= {201, 202, 503}
    own.settled()
    stored = {str(id): status for id, status in own.query("SELECT id, status FROM payments_transaction")}
    for answer in answers:
        if answer.status == 201:
            assert stored[answer.body["id"]] == answer.body["status"] == "succeeded"
        if answer.status == 202:
            assert stored[answer.body["id"]] in ("succeeded", "failed")
    own.check_books()
    wait_until(own.counters_equal_rows, timeout=15, what="counters equal rows")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgresql_restarts_under_load(own, mode):
    with same_processes(own):
        with Shops(own) as shops:
            wait_until(shops.flows, what="payments flow")
            for _ in range(2):
                own.server.restart(mode)
                since = len(shops.answers)
                wait_until(partial(shops.flows, since), timeout=10, what="payments flow again")
        check(own, shops.answers)


def test_a_long_outage_is_over_when_it_is_over(own):
    """A pool that pauses twice as long after each attempt would need seven seconds more here, and minutes elsewhere."""
    with same_processes(own):
        with Shops(own) as shops:
            wait_until(shops.flows, what="payments flow")
            own.server.stop("fast")
            since = len(shops.answers)
            time.sleep(8)  # an outage is time that passes
            assert {answer.status for answer in shops.answers[since:]} <= {202, 503}
            own.server.start()
            since = len(shops.answers)
            wait_until(lambda: shops.flows(since), timeout=6, what="payments flow again")
        check(own, shops.answers)


def test_sessions_that_are_cut_under_load_cost_no_payment(own):
    """As by an administrator, or a proxy: any moment of any statement."""
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'"
    with same_processes(own):
        with Shops(own) as shops:
            wait_until(shops.flows, what="payments flow")
            for _ in range(15):
                since = len(shops.answers)
                own.query(cut)
                wait_until(partial(shops.has_more_than, since + SHOPS), what="they go on")
        check(own, shops.answers)
