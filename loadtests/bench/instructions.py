"""Count the Python instructions of a payment: `make bench-instructions`.

Unlike times, the numbers do not depend on the machine; other load changes them only through the size of the groups.
They depend on the version of Python, and leave out what C code does: the kernel, PostgreSQL's driver, JSON. One process
serves 16 clients, with a gateway that answers at once.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.client import payment_requests, run_load
from loadtests.bench.servers import PYTHON, World, make_world

CLIENTS, WARM_UP, PAYMENTS = 16, 100, 500
# A payment takes fewer with Python 3.11.
MOST = 10_000
DEAREST = 25


@dataclass
class Counts:
    """Averages of one payment, also for each function: instructions, calls, place and name."""

    payments: int
    instructions: float
    calls: float
    functions: list[tuple[float, float, str]]


def count_instructions(world: World, payments: int = PAYMENTS) -> Counts:
    """Count those of at least so many payments, after the first ones, which fill caches."""
    file = world.directory / "instructions.json"
    command = [PYTHON, "-m", "gunicorn", "-c", "fintech/server/gunicorn.py", "loadtests.bench.counted_web"]
    counting = {"BENCH_COUNTS": str(file), "BENCH_WARM_UP": str(WARM_UP)}
    options = {"BENCH_GATEWAY": "null", "WEB_CONCURRENCY": "1", **counting}
    make = payment_requests("/v1/transactions", {"Authorization": f"Bearer {world.api_key}"})
    with world.server("counted", command, "/health", options):
        while payments > -WARM_UP:
            result = run_load(world.ports["counted"], make, clients=CLIENTS, seconds=0.5)
            assert result.errors == 0
            payments -= result.payments
    found = json.loads(file.read_text(encoding="utf-8"))
    counted = found["payments"]
    functions = [(number / counted, calls / counted, name) for number, calls, name in found["functions"]]
    return Counts(counted, sum(row[0] for row in functions), sum(row[1] for row in functions), functions)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="fintech-bench-") as name, make_world(Path(name)) as world:
        counts = count_instructions(world)
    print(f"Instructions, calls and place of the dearest functions, for each of {counts.payments} payments:")
    for number, calls, place in counts.functions[:DEAREST]:
        print(f"{number:10.1f}{calls:8.2f}  {place}")
    print(f"{counts.instructions:10.0f}{counts.calls:8.0f}  in all; at most {MOST} instructions")
    return 0 if counts.instructions <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
