"""The load test itself, by its command: against the real platform, and against a service with a fault."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from django.core.management import call_command
from django.db import connection

from fintech.testing.processes import Platform, free_port, wait_until
from loadtests.tests.run.service import KEY, LoadTest, Service
from loadtests.tests.simulator import ROOT, running_gateway

pytestmark = pytest.mark.processes


def percentile_of_postgresql(values: list[float], share: float) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT percentile_cont(%s) WITHIN GROUP (ORDER BY v) FROM unnest(%s) AS v", [share, values])
        return float(cursor.fetchone()[0])


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_platform_answers_correctly_and_the_rate_is_held_within_two_percent(tmp_path, processes):
    call_command("bootstrap", out=tmp_path / "secrets", verbosity=0)
    key = (tmp_path / "secrets" / "api_key").read_text()

    with running_gateway(tmp_path) as gateway, Platform(tmp_path, gateway=gateway, worker=False) as platform:
        load_test = LoadTest(tmp_path, platform.url, key)
        limits = ["--min-rate-held", "0.98", "--max-error-rate", "0"]
        code, output, _ = load_test.run("--rps", "20", "--duration", "20", "--processes", processes, *limits)
        charged = sum(row["charges"] for row in gateway.totals().values())

    summary = load_test.summary
    assert (code, summary["errors"]) == (0, {}), output
    assert summary["rate"]["asked"] == pytest.approx(20, rel=0.02)
    assert summary["rate"]["held"] == pytest.approx(20, rel=0.02)
    assert len({row["process"] for row in load_test.rows}) == int(processes)
    assert charged > 100
    check_percentiles(load_test)


def check_percentiles(load_test: LoadTest) -> None:
    """Compare the summary with what PostgreSQL computes from the CSV."""
    latencies = [float(row["latency_ms"]) for row in load_test.rows]
    found = load_test.summary["latency_ms"]
    for name, share in {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}.items():
        assert found[name] == pytest.approx(percentile_of_postgresql(latencies, share), rel=0.05)


def test_a_stall_of_five_seconds_shows_in_the_99th_percentile(load_test, service):
    options = ["--rps", "20", "--duration", "12", "--workers", "5"]
    with load_test.start(*options) as process:
        wait_until(lambda: service.payments > 40, timeout=30, what="forty payments")
        stall(service, 5)
        output, _ = process.communicate(timeout=60)

    summary = load_test.summary
    assert process.returncode == 0
    assert 4_000 < summary["latency_ms"]["p99"] < 6_000
    # A closed client would have sent five slow requests and waited with all others.
    assert sum(1 for row in load_test.rows if float(row["response_ms"]) > 4_000) <= 5
    assert "All 5 simulated merchants waited" in output
    check_percentiles(load_test)


def stall(service: Service, seconds: float) -> None:
    with service.stalled:
        time.sleep(seconds)


def test_a_saturated_service_does_not_hold_the_rate(load_test, service):
    service.seconds = 0.1  # ten payments a second

    options = ["--rps", "30", "--duration", "4", "--workers", "4", "--drain", "1"]
    code, output, _ = load_test.run(*options, "--min-rate-held", "0.9")

    summary = load_test.summary
    assert code == 1
    assert "BROKEN" in output
    assert summary["rate"]["held_ratio"] < 0.7
    assert summary["requests"]["not_sent"] > 10
    assert summary["warnings"]


def test_a_load_process_that_is_killed_breaks_the_thresholds(load_test, service):
    options = ["--rps", "20", "--duration", "5", "--drain", "0", "--processes", "2", "--max-error-rate", "1"]
    with load_test.start(*options) as process:
        wait_until(lambda: service.payments > 10, timeout=60, what="ten payments")
        psutil.Process(process.pid).children()[0].kill()
        output, _ = process.communicate(timeout=60)

    summary = load_test.summary
    assert process.returncode == 1
    assert "The load was not complete" in output
    assert summary["rate"]["asked"] == pytest.approx(20, rel=0.02)
    assert summary["rate"]["held_ratio"] < 0.9
    assert summary["warnings"][-1].startswith("1 load processes ended before the test did")


def test_a_test_without_a_request_holds_no_threshold(load_test):
    code, output, _ = load_test.run("--rps", "0.1", "--duration", "1", "--max-error-rate", "1")

    assert code == 1
    assert "warning: No request was due" in output


def test_a_broken_threshold_gives_exit_code_1_and_complete_files(load_test):
    code, _, _ = load_test.run("--rps", "20", "--duration", "3", "--max-p95-ms", "0.1")

    assert code == 1
    assert [threshold["held"] for threshold in load_test.summary["thresholds"]] == [False]
    assert "1 of 1 thresholds broken" in load_test.report


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, "1"), (signal.SIGTERM, "2")])
def test_a_signal_ends_the_test_with_complete_files_and_no_process(load_test, service, number, processes):
    with load_test.start("--rps", "20", "--duration", "600", "--processes", processes) as process:
        wait_until(lambda: service.payments > 20, timeout=30, what="twenty payments")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)

    summary = load_test.summary
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert summary["interrupted"]
    assert len(load_test.rows) == summary["requests"]["due"] > 20
    assert "interrupted after" in load_test.report
    assert not [child for child in children if child.is_running()]


def test_the_search_names_the_highest_rate_that_held(load_test, service):
    service.seconds = 0.025  # 40 payments a second: twice the first rate, and 0.8 of 50

    search = ["--find-limit", "--rps", "20", "--step-duration", "4", "--workers", "2", "--drain", "1"]
    limits = ["--max-error-rate", "1", "--max-p95-ms", "2000", "--min-rate-held", "0.8"]
    code, output, _ = load_test.run(*search, *limits)

    summary = load_test.summary
    assert code == 0, output
    assert 20 <= summary["limit"] < 60
    assert f"The limit is {summary['limit']:.1f} requests/s" in output
    broken = [step for step in summary["steps"] if not step["held"]]
    assert max(step["rps"] for step in broken) > summary["limit"]
    assert all(step["warnings"] for step in broken)
    for step in broken:
        assert f"At {step['rps']:.1f} requests/s: {step['warnings'][0]}" in summary["warnings"]


def test_the_search_ends_with_1_if_the_first_rate_does_not_hold(load_test, service):
    service.seconds = 0.5

    code, output, _ = load_test.run("--find-limit", "--rps", "20", "--step-duration", "2", "--drain", "1")

    assert code == 1
    assert "Not even the first rate held." in output


@pytest.mark.slow
def test_more_merchants_start_than_half_a_minute_has_time_for(load_test):
    code, output, errors = load_test.run("--rps", "10", "--duration", "1", "--workers", "3500")

    assert code == 0, output + errors


def test_workers_from_elsewhere_share_the_requests(load_test, service):
    port = str(free_port())
    options = ["--expect-workers", "2", "--master-bind-port", port, "--rps", "20", "--duration", "4"]
    with load_test.start(*options) as process:
        workers = [start_worker(service.url, port) for _ in range(2)]
        output, _ = process.communicate(timeout=90)
        codes = [worker.wait(timeout=30) for worker in workers]

    assert process.returncode == 0, output
    assert codes == [0, 0]
    counts = [sum(1 for row in load_test.rows if row["process"] == index) for index in "01"]
    assert counts == pytest.approx([40, 40], abs=2)


def start_worker(url: str, port: str) -> "subprocess.Popen[bytes]":
    """Start a worker as docs/load-testing.md says."""
    command = ["locust", "-f", str(Path("loadtests/run/merchants.py")), "--worker", "--host", url]
    address = ["--master-host", "127.0.0.1", "--master-port", port, "--loglevel", "ERROR"]
    return subprocess.Popen([sys.executable, "-m", *command, *address], cwd=ROOT, env={"API_KEY": KEY})
