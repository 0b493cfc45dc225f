"""Compare this checkout with one of another commit, in interleaved rounds: `--against CHECKOUT`.

Each checkout starts its own PostgreSQL and web processes, with its own Python environment, ports and runtime folder.
So the two may differ in their schema, their server and their dependencies. All that they share is the load client, and
two functions of loadtests/bench/servers.py: `make_world` and `start_ours`.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from fintech.testing.processes import BASE_DIR
from loadtests.bench.client import Result, payment_requests, run_load
from loadtests.bench.cpu_time import Meter, measured, tree_megabytes
from loadtests.bench.servers import is_chosen

# Runs in a checkout until its input ends, with the modules of that checkout.
SERVE = """
import json, sys, tempfile
from pathlib import Path
from loadtests.bench.servers import make_world, start_ours
with tempfile.TemporaryDirectory(prefix="fintech-bench-") as directory, make_world(Path(directory)) as world:
    with start_ours(world, "ours", BENCH_GATEWAY="null"):
        print(json.dumps([world.ports["ours"], world.api_key, str(world.database.data_dir)]), flush=True)
        sys.stdin.read()
"""
STOP_SECONDS = 60

# Name -> clients and payments in a request.
PARTS = {
    "single, 16 clients": (16, 1),
    "single, 64 clients": (64, 1),
    "batches of 100, 4 clients": (4, 100),
    "batches of 100, 16 clients": (16, 100),
}
MEASURES: dict[str, Callable[[Result], float]] = {
    "payments/s": lambda result: result.rate,
    "web, ms": lambda result: result.web_ms,
    "PostgreSQL, ms": lambda result: result.postgres_ms,
    "p99, ms": lambda result: result.percentile(0.99),
}
Rounds = dict[str, list[tuple[Result, Result]]]  # by part: before and now


@dataclass(frozen=True)
class Side:
    """A checkout that serves payments."""

    port: int
    api_key: str
    web: int
    database: int

    def run(self, clients: int, payments: int, seconds: float) -> Result:
        batch = payments if payments > 1 else 0
        path = "/v1/transactions/batch" if batch else "/v1/transactions"
        make = payment_requests(path, {"Authorization": f"Bearer {self.api_key}"}, batch=batch)
        meter = Meter(self.web, self.database)
        load = measured(meter, lambda: run_load(self.port, make, clients=clients, seconds=seconds, payments=payments))
        return load()


@contextmanager
def serving(checkout: Path, python: Path) -> Iterator[Side]:
    """Start ours from a checkout, and stop it at the end of the block."""
    program = subprocess.Popen(
        [python, "-c", SERVE], cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        while not (line := program.stdout.readline()).startswith("["):  # migrations may print, too
            if not line:
                raise SystemExit(f"{checkout} did not start: its errors are above")
        port, api_key, data_dir = json.loads(line)
        database = int((Path(data_dir) / "postmaster.pid").read_text().splitlines()[0])
        yield Side(port, api_key, _listener(program.pid, port), database)
    finally:
        program.stdin.close()
        program.wait(STOP_SECONDS)


def _listener(parent: int, port: int) -> int:
    """Return the child of `parent` that listens on `port`: gunicorn's master, the root of the web's processes."""
    for child in psutil.Process(parent).children():
        if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in child.net_connections("tcp")):
            return child.pid
    raise LookupError(f"no process listens on port {port}")


def compare_checkouts(other: Path, *, rounds: int, seconds: float, only: Sequence[str] | None) -> None:
    """Run the parts whose names contain a text of `only`, and print how this checkout compares with `other`."""
    parts = {name: part for name, part in PARTS.items() if is_chosen(name, only)}
    other = other.resolve()
    with serving(other, other / ".venv/bin/python") as before, serving(BASE_DIR, Path(sys.executable)) as now:
        results = _interleave((before, now), parts, rounds, seconds)
        memory = [tree_megabytes(side.web) for side in (before, now)]
    report(results, memory)


def _interleave(sides: tuple[Side, Side], parts: dict[str, tuple[int, int]], rounds: int, seconds: float) -> Rounds:
    """Measure each part on both sides, right after each other, in alternating order. The first round warms up."""
    results: Rounds = {name: [] for name in parts}
    for number in range(rounds + 1):
        for name, (clients, payments) in parts.items():
            order = (0, 1) if number % 2 else (1, 0)
            measured = {place: sides[place].run(clients, payments, seconds) for place in order}
            if number:
                results[name].append((measured[0], measured[1]))
                rates = f"{measured[0].rate:8.0f}/s -> {measured[1].rate:8.0f}/s"
                print(f"round {number}/{rounds}  {name:28}{rates}", flush=True)
    return results


def report(results: Rounds, memory: list[float]) -> None:
    """Print medians, and of the rounds' ratios, whose sides met about the same machine, also both extremes."""
    print(f"\n{'processor time is per payment':46}{'before':>10}{'now':>10}{'now / before':>14}   lowest, highest")
    for name, pairs in results.items():
        for measure, of in MEASURES.items():
            before, now = (median(of(pair[place]) for pair in pairs) for place in (0, 1))
            ratios = sorted(of(pair[1]) / max(of(pair[0]), 1e-9) for pair in pairs)
            spread = f"{ratios[0]:.2f}, {ratios[-1]:.2f}"
            digits = 0 if measure == "payments/s" else 1 if measure.startswith("p99") else 3
            shown = f"{before:10,.{digits}f}{now:10,.{digits}f}{median(ratios):14.2f}"
            print(f"{f'{name}: {measure}':46}{shown}   {spread}")
        errors = [sum(pair[place].errors for pair in pairs) for place in (0, 1)]
        if any(errors):
            print(f"{f'{name}: errors':46}{errors[0]:10}{errors[1]:10}")
    before, now = memory
    print(f"{'memory of the web, MB':46}{before:10.0f}{now:10.0f}{now / before:14.2f}")
