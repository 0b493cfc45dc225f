"""The KPIs are the ledger: counters equal rows, to the payment and to the cent, whatever dies under load."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPException
from random import Random

import pytest

from fintech.testing.databases import FAST
from fintech.testing.processes import IN_FULL, Load, Reply, wait_until
from payments.tests.own_platform import OwnPlatform, own_platform

pytestmark = [pytest.mark.slow, pytest.mark.processes]

SHORT = {"GATEWAY_TIMEOUT_SECONDS": "1", "GATEWAY_DEADLINE_SECONDS": "2", "LEASE_SECONDS": "3"}
SHOPS = 6
KILLS = 100 if IN_FULL else 6
# Each shop pauses so long on average between two payments: `make prove` saturates the platform instead.
PAUSE_SECONDS = 0.0 if IN_FULL else 0.05

# (amount in minor units, currency): approved, declined, failed, unknown at first, blocked as fraud.
PAYMENTS = [
    *[(1250, "EUR"), (33, "EUR"), (10, "USD"), (3900, "JPY"), (8251, "KWD")] * 4,
    *[(1901, "EUR"), (1902, "JPY"), (1911, "EUR"), (1922, "EUR"), (1924, "KWD")],
    (999_999_999_000, "EUR"),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPlatform]:
    directory = tmp_path_factory.mktemp("own")
    with own_platform(directory, postgres=FAST, workers=3, env={**SHORT, "BATCH_DEADLINE_SECONDS": "1"}) as running:
        running.query("UPDATE payments_merchant SET fraud_threshold = 0.4 RETURNING id")
        yield running


class Shops(Load):
    """They pay, refund and send batches, and try again with the same key until they have an answer."""

    def __init__(self, own: OwnPlatform) -> None:
        super().__init__([partial(self._shop, Random(seed)) for seed in range(SHOPS)])
        self._own = own
        self.answers: list[Reply] = []

    def _shop(self, random: Random) -> None:
        while not self.stopped.is_set():
            amount, currency = random.choice(PAYMENTS)
            paid = self._insist(partial(self._own.pay, amount, currency, key=secrets.token_hex(12)))
            if random.random() < 0.1 and paid.body["status"] == "succeeded":
                self._insist(partial(self._own.refund, paid.body["id"], 10, key=secrets.token_hex(12)))
            if random.random() < 0.03:
                self._insist(partial(self._own.pay_batch, [random.choice(PAYMENTS) for _ in range(20)]))
            self.stopped.wait(random.uniform(0, 2 * PAUSE_SECONDS))

    def _insist(self, call: Callable[[], Reply]) -> Reply:
        for _ in range(200):
            try:
                reply = call()
            except (OSError, HTTPException):
                continue
            if reply.status not in (409, 503):
                self.answers.append(reply)
                return reply
            time.sleep(0.05)  # as its Retry-After asks, only sooner
        raise AssertionError("no answer")


class Scraper(Load):
    """Reads the counters continuously: a counter that falls looks like a restart to Prometheus, which counts its value
    again.

    The web's counters are in files, so none may ever fall; of the worker's, those that are set from the rows.
    """

    def __init__(self, own: OwnPlatform) -> None:
        super().__init__([self._run])
        self._platform = own.platform
        self.scrapes, self.fell = 0, list[str]()

    def _run(self) -> None:
        last: dict[str, dict[str, float]] = {"web": {}, "worker": {}}
        while not self.stopped.wait(0.2):
            for job, port in (("web", self._platform.metrics_port), ("worker", self._platform.worker_port)):
                try:
                    samples = self._platform.scrape(port)
                except (OSError, HTTPException):
                    continue  # it was killed
                except ValueError as error:
                    samples = last[job]
                    self.fell.append(f"{job} answers with something else: {error}")
                counted = {name: value for name, value in samples.items() if is_counter(job, name)}
                before = last[job]
                self.fell += [f"{job} {name}: {now}" for name, now in counted.items() if now < before.get(name, now)]
                self.scrapes, last[job] = self.scrapes + 1, counted


def is_counter(job: str, name: str) -> bool:
    if job == "worker":
        return name.startswith(("transactions_total", "transaction_amount", "unknown_outcomes_total"))
    return not name.startswith(("transactions_in_progress", "web_capacity", "web_loop_lag"))  # gauges of those who live


def warm(own: OwnPlatform) -> int:
    """How many web workers have set their counters and serve."""
    live = "SELECT count(DISTINCT application_name) FROM pg_stat_activity WHERE application_name LIKE 'writer % web-%'"
    return own.query(live)[0][0]


def kill_and_await(own: OwnPlatform, random: Random) -> None:
    """SIGKILL to one web worker, and wait until its successor is as far."""
    pids = own.platform.worker_pids()
    pid = random.choice(pids)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in own.platform.worker_pids(), what="gunicorn notices")
    wait_until(lambda: warm(own) == len(pids), timeout=20, what="its successor serves")


def files(own: OwnPlatform) -> list[str]:
    return sorted(path.name for path in (own.platform.directory / "runtime" / "metrics" / "web").iterdir())


def complete_files(own: OwnPlatform) -> list[str] | None:
    """Return the files once each of three workers has written its live gauges; None before."""
    found = files(own)
    expected = {f"gauge_{mode}_web-{number}.db" for mode in ("livemax", "livesum") for number in range(3)}
    return found if expected <= set(found) else None


def gauges(own: OwnPlatform, name: str) -> dict[str, float]:
    samples = own.platform.scrape(own.platform.worker_port)
    return {label: value for label, value in samples.items() if label.startswith(name)}


def test_counters_equal_rows_after_kills_under_load(own, capsys):
    random, start = Random(7), time.monotonic()
    wait_until(lambda: warm(own) == 3, what="three web workers serve")
    with Scraper(own) as scraper, Shops(own) as shops:
        kill_and_await(own, random)
        files_before = wait_until(lambda: complete_files(own), what="every worker has its gauges")
        for number in range(KILLS - 1):
            kill_and_await(own, random)
            if number == KILLS // 2:
                own.kill_worker_and_exporter()
    own.settled()

    check_at_rest(own)
    assert scraper.fell == []
    wait_until(lambda: files(own) == files_before, what="no file is left over or missing")
    assert [answer.body for answer in shops.answers if answer.status not in (200, 201, 202)] == []
    with capsys.disabled():
        seconds, rows = time.monotonic() - start, dict(sorted(own.rows().count.items()))
        print(f"\n{KILLS} kills in {seconds:.0f} s, {scraper.scrapes} scrapes; counters = rows = {rows}")


def is_measured_and_zero(own: OwnPlatform, name: str) -> bool:
    found = gauges(own, name)
    return len(found) > 2 and not any(found.values())


def ledger_gauges_equal_rows(own: OwnPlatform) -> bool:
    """Compare what the worker measured last, which can be a few seconds old, with the rows of now."""
    measured = {label: value for label, value in gauges(own, "ledger_transactions_total").items() if value}
    rows = own.rows().count
    return measured == {f'ledger_transactions_total{{status="{status}"}}': count for status, count in rows.items()}


def check_at_rest(own: OwnPlatform) -> None:
    """Counters, the drift that the worker measures itself, and the books."""
    wait_until(own.counters_equal_rows, timeout=15, what="counters equal rows")
    own.check_books()
    assert own.platform.scrape()["transactions_in_progress"] == 0
    unknown = own.query("SELECT count(*) FROM payments_event WHERE kind = 'unknown'")[0][0]
    assert own.platform.scrape()["unknown_outcomes_total"] == unknown
    for name in ("kpi_drift", "gateway_drift"):
        wait_until(partial(is_measured_and_zero, own, name), timeout=20, what=f"{name} is 0")
    wait_until(partial(ledger_gauges_equal_rows, own), timeout=20, what="the ledger's gauges equal rows")
