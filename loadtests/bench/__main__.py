"""Run interleaved rounds of all contenders; print medians and ratios. `make bench`, or `python -m loadtests.bench
--help`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from loadtests.bench.client import Result, payment_requests, run_load
from loadtests.bench.pgbench import run_pgbench, write_script
from loadtests.bench.servers import World, make_world, start_fastapi, start_ours, start_tutorial

Contender = Callable[[], Result]

# Ratios that must hold here: (name, numerator, denominator, floor).
FLOORS = [
    ("ours / tutorial DRF", "ours, null gateway", "(b) tutorial DRF", 5.0),
    ("ours / FastAPI + asyncpg", "ours, null gateway", "(c) FastAPI, null gateway", 0.8),
    ("ours / pgbench", "ours, null gateway", "(a) pgbench", 0.2),
    ("ours / FastAPI, simulator at 50 ms, 64 clients", "ours, 50 ms", "(c) FastAPI, 50 ms", 0.9),
    ("with metrics and logs / without", "ours, null gateway", "ours, quiet", 0.75),
    ("batches of 100 / single", "ours, batches of 100", "ours, null gateway", 5.0),
]


def http(
    world: World, server: str, path: str = "/v1/transactions", *, clients: int = 16, seconds: float, batch: int = 0
) -> Contender:
    headers = {"Authorization": f"Bearer {world.api_key}"}
    make = payment_requests(f"{path}/batch" if batch else path, headers, batch=batch)
    return lambda: run_load(world.ports[server], make, clients=clients, seconds=seconds, payments=batch or 1)


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
        start_ours(world, "ours-quiet", BENCH_GATEWAY="null", BENCH_QUIET="1"),
        start_tutorial(world),
        start_fastapi(world, "fastapi", BENCH_GATEWAY="http"),
        start_fastapi(world, "fastapi-null", BENCH_GATEWAY="null"),
    ):
        stack.enter_context(server)


def contenders(world: World, seconds: float) -> dict[str, Contender]:
    script = write_script(world)
    return {
        "ours, null gateway": http(world, "ours-null", seconds=seconds),
        "ours, quiet": http(world, "ours-quiet", seconds=seconds),
        "ours, batches of 100": http(world, "ours-null", clients=4, seconds=seconds, batch=100),
        "ours, simulator": http(world, "ours", seconds=seconds),
        "ours, 50 ms": with_latency(world, 50, http(world, "ours", clients=64, seconds=seconds)),
        "(a) pgbench": lambda: run_pgbench(world, script, clients=16, seconds=max(1, int(seconds))),
        "(b) tutorial DRF": http(world, "tutorial", "/sales/", seconds=seconds),
        "(c) FastAPI, null gateway": http(world, "fastapi-null", seconds=seconds),
        "(c) FastAPI, simulator": http(world, "fastapi", seconds=seconds),
        "(c) FastAPI, 50 ms": with_latency(world, 50, http(world, "fastapi", clients=64, seconds=seconds)),
    }


def report(rounds: dict[str, list[Result]]) -> bool:
    """Print medians and ratios; True if every floor holds."""
    print(f"\n{'contender':32}{'payments/s':>12}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'errors':>8}")
    rate = {}
    for name, results in rounds.items():
        rate[name] = statistics.median(result.rate for result in results)
        times = [statistics.median(r.percentile(share) for r in results) for share in (0.5, 0.95, 0.99)]
        shown = "".join(f"{time:9.1f}" if time else f"{'-':>9}" for time in times)
        print(f"{name:32}{rate[name]:12.0f}{shown}{sum(result.errors for result in results):8}")
    print(f"\n{'ratio':48}{'measured':>10}{'floor':>8}")
    good = True
    for name, top, bottom, floor in FLOORS:
        if top in rate and bottom in rate:
            ratio = rate[top] / max(rate[bottom], 1e-9)
            good &= ratio >= floor
            print(f"{name:48}{ratio:10.2f}{floor:8.2f}{'' if ratio >= floor else '   BELOW'}")
    return good


def report_scrape() -> bool:
    """Return True if a scrape after 500 workers takes at most one and a half times as long as a fresh one."""
    command = [sys.executable, "-m", "loadtests.bench.scrape"]
    fresh, later = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    print(f"scrape: {fresh:.1f} ms after 3 workers, {later:.1f} ms after 504")
    print(f"{'scrape after 500 workers / fresh':48}{later / fresh:10.2f}{'<= 1.50':>8}")
    return later <= 1.5 * fresh


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="length of each contender's turn (4)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each has its turn (5)")
    parser.add_argument("--only", default="", help="just the contenders whose names hold one of these texts, by comma")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fintech-bench-") as directory, ExitStack() as stack:
        world = stack.enter_context(make_world(Path(directory)))
        start_all(stack, world)
        runners = {
            name: run
            for name, run in contenders(world, options.seconds).items()
            if any(word in name for word in options.only.split(","))
        }
        rounds: dict[str, list[Result]] = {name: [] for name in runners}
        for run in runners.values():
            run()  # warm up
        for number in range(options.rounds):
            for name, run in runners.items():
                rounds[name].append(run())
                print(f"round {number + 1}/{options.rounds}  {name:32}{rounds[name][-1].rate:8.0f}/s", flush=True)
        good = report(rounds)
        return 0 if report_scrape() and good else 1


if __name__ == "__main__":
    sys.exit(main())
