"""Ten minutes of Locust with kills, seen through Prometheus: the documented queries answer with what the rows say.

Part of `make prove`; PROVE_MINUTES shortens or lengthens it.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from statistics import mean, quantiles
from typing import Any
from urllib.parse import urlencode

import pytest

from fintech.testing.processes import IN_FULL, answers, free_port, request, running, wait_until
from loadtests.tests.test_locust import load
from observability.dashboards.documented import PROMQL
from observability.render import prometheus_command, render
from payments.currencies import to_major
from payments.tests.kpis.test_drift import check_at_rest, files, kill_and_await, warm
from payments.tests.own_platform import OwnPlatform, own_platform

MINUTES = float(os.environ.get("PROVE_MINUTES", "10"))
KILL_EVERY_SECONDS = 15
SCRAPE_SECONDS = 5
WINDOW_SECONDS = 300  # of the documented queries

pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.skipif(not IN_FULL, reason="it takes ten minutes: make prove"),
    pytest.mark.skipif(not prometheus_command("", "", ""), reason="Prometheus is not installed"),
    pytest.mark.timeout(MINUTES * 60 + 600),
]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnPlatform]:
    with own_platform(tmp_path, postgres={}, workers=3) as running_platform:
        yield running_platform


class Prometheus:
    def __init__(self, port: int) -> None:
        self._port = port

    def query(self, expression: str) -> list[dict[str, Any]]:
        reply = request(self._port, "GET", f"/api/v1/query?{urlencode({'query': expression})}")
        assert reply.status == 200, reply.body
        return reply.body["data"]["result"]

    def number(self, expression: str) -> float:
        (one,) = self.query(expression)
        return float(one["value"][1])

    def by(self, label: str, expression: str) -> dict[str, float]:
        return {one["metric"][label]: float(one["value"][1]) for one in self.query(expression)}


@contextmanager
def prometheus_around(own: OwnPlatform, directory: Path) -> Iterator[Prometheus]:
    port = free_port()
    (directory / "token").write_text("none")
    render(
        directory / "monitoring",
        web_target=f"127.0.0.1:{own.platform.metrics_port}",
        worker_target=f"127.0.0.1:{own.platform.worker_port}",
        alertmanager_target="127.0.0.1:9",
        webhook_url="http://127.0.0.1:9",
        token_file=directory / "token",
        interval_seconds=SCRAPE_SECONDS,
    )
    command = prometheus_command(directory / "monitoring", directory / "prometheus", f"127.0.0.1:{port}")
    assert command
    with running(command, log=directory / "prometheus.log", ready=partial(answers, port, "/-/ready")):
        yield Prometheus(port)


def test_ten_minutes_of_load_and_kills_as_prometheus_sees_them(own, tmp_path, capsys):
    wait_until(lambda: warm(own) == 3, what="three web workers serve")
    with prometheus_around(own, tmp_path) as prometheus:
        with load(own.platform.url, API_KEY=own.api_key, LOAD_USERS="20", LOAD_RATE="2"):
            kills, files_before = kill_for(own, MINUTES * 60)
            said = {query: prometheus.number(query) for query in PROMQL}
            rows, latencies = rows_of_the_windows(own), logged_latencies(own)
        own.settled(within=60)
        check_at_rest(own)
        assert files(own) == files_before
        await_a_scrape(prometheus)
        compare_at_rest(own, prometheus)
        drift = prometheus.number("max(max_over_time(abs(kpi_drift)[2h:5s]))")
    expected = [rows[0], rows[1], mean(latencies), quantiles(latencies, n=20)[-1], rows[2]]
    with capsys.disabled():
        print(f"\n{MINUTES:g} minutes, {kills} web workers killed, kpi_drift at most {drift:g} meanwhile and 0 at rest")
        print(f"counters = rows = {json.dumps(own.rows().count)}, minor units = {json.dumps(own.rows().amount)}")
        for (query, number), right in zip(said.items(), expected, strict=True):
            print(f"{number:>12.4f} (rows or log: {right:.4f})  {query}")
    for (query, number), right, tolerance in zip(said.items(), expected, TOLERANCES, strict=True):
        assert number == pytest.approx(right, rel=tolerance), query


# How far the queries may be off: rate() extrapolates to the edges of its window, and a quantile is only as fine as its
# buckets.
TOLERANCES = (0.15, 0.15, 0.15, 1.0, 0.1)


def rows_of_the_windows(own: OwnPlatform) -> tuple[float, float, float]:
    """Payments a second over one minute; the share that failed, and major units a minute, over five."""
    recent = "settled_at > now() - make_interval(secs => %s)"
    ((last_minute,),) = own.query(f"SELECT count(*) FROM payments_transaction WHERE {recent}", 60)
    failed = f"SELECT avg((status = 'failed')::int)::float8 FROM payments_transaction WHERE {recent}"
    ((failed_share,),) = own.query(failed, WINDOW_SECONDS)
    succeeded = f"FROM payments_transaction WHERE status = 'succeeded' AND {recent}"
    sold = f"SELECT currency, sum(amount)::bigint {succeeded} GROUP BY currency"
    revenue = sum(to_major(amount, currency) for currency, amount in own.query(sold, WINDOW_SECONDS))
    return last_minute / 60, failed_share, revenue / WINDOW_SECONDS * 60


def logged_latencies(own: OwnPlatform) -> list[float]:
    """Return the seconds that each new payment of the window took, by the web's log.

    Clients would also measure their own wait for the processor, and for a process that was killed.
    """
    lines = (json.loads(line) for line in own.platform.web.output().splitlines() if '"v1/transactions"' in line)
    payments = [line for line in lines if line["method"] == "POST" and line["status_code"] in (201, 202)]
    begin = datetime.now(UTC) - timedelta(seconds=WINDOW_SECONDS)
    return [line["duration_ms"] / 1000 for line in payments if datetime.fromisoformat(line["time"]) >= begin]


def kill_for(own: OwnPlatform, seconds: float) -> tuple[int, list[str]]:
    """Web workers all the time, the worker and the exporter once."""
    random, end, kills = Random(), time.monotonic() + seconds, 0
    files_before: list[str] = []
    while (left := end - time.monotonic()) > 0:
        kill_and_await(own, random)
        kills += 1
        files_before = files_before or files(own)
        if kills == 10:
            own.kill_worker_and_exporter()
        time.sleep(min(left, KILL_EVERY_SECONDS))  # load, for as long as was asked for
    return kills, files_before


def await_a_scrape(prometheus: Prometheus) -> None:
    """One of either job that began when all was at rest."""
    now = time.time()
    wait_until(
        lambda: prometheus.number('min(timestamp(up{job=~"web|worker"}))') > now + 1, timeout=60, what="a scrape"
    )


def compare_at_rest(own: OwnPlatform, prometheus: Prometheus) -> None:
    """Raw values, the jobs summed, last minus first: all began at 0 in this epoch. To the payment and to the cent."""
    rows = own.rows()
    counted = prometheus.by("status", "sum by (status) (transactions_total)")
    assert {status: number for status, number in counted.items() if number} == rows.count
    sums = prometheus.by("currency", "sum by (currency) (transaction_amount_sum)")
    exact = {currency: to_major(amount, currency) for currency, amount in rows.amount.items()}
    assert {currency: round(amount, 3) for currency, amount in sums.items() if amount} == exact
    for metric in ("transactions_total", "transaction_amount_sum", "transaction_latency_seconds_count"):
        assert prometheus.number(f'sum(resets({metric}{{job="web"}}[1h]))') == 0
    assert prometheus.number('sum(resets(transactions_total{job="worker"}[1h]))') == 0
    assert prometheus.number("max(abs(kpi_drift))") == 0
    assert prometheus.number("max(abs(gateway_drift))") == 0
