"""Run interleaved rounds of all contenders; print medians and ratios. `make bench`, or `python -m loadtests.bench
--help`.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from loadtests.argument_types import count, positive
from loadtests.bench.against import compare_checkouts
from loadtests.bench.baseline import compare
from loadtests.bench.client import Result, payment_requests, run_load
from loadtests.bench.cpu_time import Meter, measured
from loadtests.bench.pages import report_pages
from loadtests.bench.pgbench import run_pgbench, write_script
from loadtests.bench.servers import (
    World,
    is_chosen,
    make_world,
    start_fastapi,
    start_ours,
    start_traced,
    start_tutorial,
)

Contender = Callable[[], Result]

# Ratios that must hold here: (name, numerator, denominator, floor).
FLOORS = [
    ("ours / tutorial DRF", "ours, 16", "(b) tutorial DRF, 16", 5.0),
    ("ours / tutorial DRF with CONN_MAX_AGE", "ours, 16", "(b) tutorial DRF, CONN_MAX_AGE, 16", 2.0),
    ("ours / FastAPI + asyncpg, 16 clients", "ours, 16", "(c) FastAPI, 16", 1.3),
    ("ours / FastAPI + asyncpg, 64 clients", "ours, 64", "(c) FastAPI, 64", 2.0),
    ("ours / FastAPI + asyncpg in groups, 64 clients", "ours, 64", "(d) FastAPI in groups, 64", 1.1),
    ("ours / FastAPI, gateway at 50 ms, 64 clients", "ours, 50 ms, 64", "(c) FastAPI, 50 ms, 64", 1.3),
    ("ours / FastAPI, gateway at 200 ms, 256 clients", "ours, 200 ms, 256", "(c) FastAPI, 200 ms, 256", 1.3),
    ("ours / pgbench, one row a statement", "ours, 16", "(a) pgbench, 1 row, 16", 0.2),
    ("with metrics, logs and traces at 5 % / all off", "ours, traced, 16", "ours, all off, 16", 0.85),
    ("batches of 100 / single", "ours, batches of 100, 4", "ours, 16", 5.0),
]


def http(
    world: World, server: str, path: str = "/v1/transactions", *, clients: int, seconds: float, batch: int = 0
) -> Contender:
    headers = {"Authorization": f"Bearer {world.api_key}"}
    make = payment_requests(f"{path}/batch" if batch else path, headers, batch=batch)
    meter = Meter(world.pids[server], world.database_pid)
    return measured(
        meter, lambda: run_load(world.ports[server], make, clients=clients, seconds=seconds, payments=batch or 1)
    )


def pgbench(world: World, rows: int, seconds: float) -> Contender:
    script = write_script(world, rows)
    meter = Meter(None, world.database_pid)
    return measured(meter, lambda: run_pgbench(script, rows=rows, clients=16, seconds=max(1, int(seconds))))


def with_latency(world: World, milliseconds: int, contender: Contender) -> Contender:
    def run() -> Result:
        world.gateway.profile(latency_ms=milliseconds)
        try:
            return contender()
        finally:
            world.gateway.profile(latency_ms=0)

    return run


def start_all(stack: ExitStack, world: World) -> None:
    # As the owner, because the application's role cannot create tables.
    environment = {**os.environ, "DATABASE_URL": os.environ["DATABASE_OWNER_URL"]}
    subprocess.run([sys.executable, "-m", "loadtests.bench.tutorial"], env=environment, check=True)
    for server in (
        start_ours(world, "ours", BENCH_GATEWAY="http"),
        start_ours(world, "ours-null", BENCH_GATEWAY="null"),
        start_ours(world, "ours-off", BENCH_GATEWAY="null", BENCH_QUIET="1"),
        start_traced(world, "ours-traced", BENCH_GATEWAY="null", TRACE_SAMPLE_RATIO="0.05"),
        start_tutorial(world, "tutorial"),
        start_tutorial(world, "tutorial-kept", BENCH_CONN_MAX_AGE="600"),
        start_fastapi(world, "fastapi", BENCH_GATEWAY="http"),
        start_fastapi(world, "fastapi-null", BENCH_GATEWAY="null"),
        start_fastapi(world, "grouped-null", BENCH_GATEWAY="null", BENCH_GROUPED="1"),
    ):
        stack.enter_context(server)


def contenders(world: World, seconds: float) -> dict[str, Contender]:
    """Return the contenders by name; a name ends with the number of clients."""
    null = {"ours": "ours-null", "(c) FastAPI": "fastapi-null", "(d) FastAPI in groups": "grouped-null"}
    slow = {"ours": "ours", "(c) FastAPI": "fastapi"}
    return {
        **{
            f"{name}, {clients}": http(world, server, clients=clients, seconds=seconds)
            for clients in (16, 64, 256)
            for name, server in null.items()
        },
        "ours, all off, 16": http(world, "ours-off", clients=16, seconds=seconds),
        "ours, traced, 16": http(world, "ours-traced", clients=16, seconds=seconds),
        "ours, batches of 100, 4": http(world, "ours-null", clients=4, seconds=seconds, batch=100),
        **{
            f"{name}, {delay} ms, {clients}": with_latency(
                world, delay, http(world, server, clients=clients, seconds=seconds)
            )
            for delay, clients in ((0, 16), (50, 64), (200, 256))
            for name, server in slow.items()
        },
        "(a) pgbench, 1 row, 16": pgbench(world, 1, seconds),
        "(a) pgbench, 16 rows, 16": pgbench(world, 16, seconds),
        "(b) tutorial DRF, 16": http(world, "tutorial", "/sales/", clients=16, seconds=seconds),
        "(b) tutorial DRF, CONN_MAX_AGE, 16": http(world, "tutorial-kept", "/sales/", clients=16, seconds=seconds),
    }


COLUMNS = {"web_ms": "web", "postgres_ms": "PostgreSQL", "client_ms": "client"}


def report(rounds: dict[str, list[Result]]) -> bool:
    """Print medians and ratios; True if every floor holds, and neither side of it had errors.

    Processor time is in milliseconds per payment.
    """
    print("\nThe last number of a contender is its clients; the last three columns are processor time per payment, ms.")
    head = "".join(f"{name:>12}" for name in COLUMNS.values())
    print(f"{'contender':38}{'payments/s':>12}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'errors':>8}{head}")
    rate = {}
    for name, results in rounds.items():
        rate[name] = statistics.median(result.rate for result in results)
        times = [statistics.median(r.percentile(share) for r in results) for share in (0.5, 0.95, 0.99)]
        shown = "".join(f"{time:9.1f}" if time else f"{'-':>9}" for time in times)
        spent = "".join(f"{statistics.median(getattr(r, field) for r in results):12.2f}" for field in COLUMNS)
        print(f"{name:38}{rate[name]:12.0f}{shown}{sum(result.errors for result in results):8}{spent}")
    print(f"\n{'ratio':48}{'measured':>10}{'floor':>8}")
    good = True
    for name, top, bottom, floor in FLOORS:
        if top in rate and bottom in rate:
            ratio = rate[top] / max(rate[bottom], 1e-9)
            errors = any(result.errors for result in rounds[top] + rounds[bottom])
            verdict = "   ERRORS" if errors else "   BELOW" if ratio < floor else ""
            good &= not verdict
            print(f"{name:48}{ratio:10.2f}{floor:8.2f}{verdict}")
    return good


def report_scrape(_: World) -> bool:
    """Return True if a scrape after 500 workers takes at most one and a half times as long as a fresh one."""
    command = [sys.executable, "-m", "loadtests.bench.scrape"]
    fresh, later = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    print(f"scrape: {fresh:.1f} ms after 3 workers, {later:.1f} ms after 504")
    print(f"{'scrape after 500 workers / fresh':48}{later / fresh:10.2f}{'<= 1.50':>8}")
    return later <= 1.5 * fresh


# What follows the contenders: it prints figures of its own, and returns True if they hold.
REPORTS: dict[str, Callable[[World], bool]] = {"scrape": report_scrape, "pages": report_pages}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=4, help="length of each contender's turn (4)")
    parser.add_argument("--rounds", type=count, default=5, help="how often each has its turn (5)")
    only_help = f"just the contenders whose names hold this text, or {' or '.join(REPORTS)}; repeatable"
    parser.add_argument("--only", action="append", help=only_help)
    parser.add_argument("--baseline", type=Path, help="a file with the previous run; say what moved, and keep this run")
    parser.add_argument("--against", type=Path, help="compare with ours from this checkout, which has its own .venv")
    options = parser.parse_args()
    if options.against:
        compare_checkouts(options.against, rounds=options.rounds, seconds=options.seconds, only=options.only)
        return 0
    with tempfile.TemporaryDirectory(prefix="fintech-bench-") as directory, ExitStack() as stack:
        world = stack.enter_context(make_world(Path(directory)))
        start_all(stack, world)
        runners = {
            name: run for name, run in contenders(world, options.seconds).items() if is_chosen(name, options.only)
        }
        reports = [run for name, run in REPORTS.items() if is_chosen(name, options.only)]
        if not runners and not reports:
            parser.error(f"--only {' --only '.join(options.only)} chooses nothing")
        rounds: dict[str, list[Result]] = {name: [] for name in runners}
        for run in runners.values():
            run()  # warm up
        for number in range(options.rounds):
            # In a new order each time: PostgreSQL still vacuums for the contender before, at the cost of the next one.
            for name, run in random.sample([*runners.items()], len(runners)):
                rounds[name].append(run())
                print(f"round {number + 1}/{options.rounds}  {name:38}{rounds[name][-1].rate:8.0f}/s", flush=True)
        good = not rounds or report(rounds)
        for moved in compare(options.baseline, rounds) if options.baseline else ():
            print(f"moved: {moved}")
        for run_report in reports:
            good &= run_report(world)
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
