"""`python -m loadtests.bench.hosts`: the processor time of a payment over one, two and three web hosts.

All hosts are on this machine, each with a metrics folder of its own. The same clients are divided between them, so more
processes mean smaller groups in a commit. The ratio compares with one host as it is by default on two cores; one host
with one and with three processes shows what the number of processes costs.
"""

import argparse
import random
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from loadtests.argument_types import count, positive
from loadtests.bench.client import Result, payment_requests, run_load
from loadtests.bench.cpu_time import Meter, tree_seconds
from loadtests.bench.servers import World, make_world, start_ours

# Name -> processes of each host.
FLEETS = {
    "1 host, 2 processes": [2],
    "2 hosts": [1, 1],
    "3 hosts": [1, 1, 1],
    "1 host, 1 process": [1],
    "1 host, 3 processes": [3],
}


def start_fleets(stack: ExitStack, world: World) -> dict[str, list[str]]:
    """Start every host of every fleet, and return their names."""
    fleets = {}
    for fleet, hosts in FLEETS.items():
        fleets[fleet] = [f"{fleet}-{number}".replace(" ", "-").replace(",", "") for number in range(len(hosts))]
        for name, processes in zip(fleets[fleet], hosts, strict=True):
            env = {"BENCH_GATEWAY": "null", "WEB_CONCURRENCY": str(processes), "HOST_ID": name}
            stack.enter_context(start_ours(world, name, **env))
    return fleets


def run_round(world: World, hosts: list[str], *, clients: int, seconds: float) -> Result:
    """Divide the clients between the hosts, and return the sum of their results."""
    make = payment_requests("/v1/transactions", {"Authorization": f"Bearer {world.api_key}"})
    database, web = Meter(None, world.database_pid), [world.pids[host] for host in hosts]
    before, web_before = database.read()[1], sum(map(tree_seconds, web))
    with ThreadPoolExecutor(len(hosts)) as threads:
        work = [
            threads.submit(run_load, world.ports[host], make, clients=clients // len(hosts), seconds=seconds)
            for host in hosts
        ]
        results = [one.result() for one in work]
    total = Result(max(result.seconds for result in results), sum(result.payments for result in results))
    total.errors = sum(result.errors for result in results)
    total.web_ms = 1000 * (sum(map(tree_seconds, web)) - web_before) / max(total.payments, 1)
    total.postgres_ms = 1000 * (database.read()[1] - before) / max(total.payments, 1)
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.hosts", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=3, help="length of each turn (3)")
    parser.add_argument("--rounds", type=count, default=3, help="how often each fleet has its turn (3)")
    parser.add_argument("--clients", type=count, default=48, help="clients of all hosts together (48)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fintech-bench-") as directory, ExitStack() as stack:
        world = stack.enter_context(make_world(Path(directory)))
        fleets = start_fleets(stack, world)
        rounds: dict[str, list[Result]] = {fleet: [] for fleet in fleets}
        for number in range(options.rounds + 1):  # the first warms up
            for fleet, hosts in random.sample([*fleets.items()], len(fleets)):  # none always follows the same one
                result = run_round(world, hosts, clients=options.clients, seconds=options.seconds)
                if number:
                    rounds[fleet].append(result)
        print(f"{'fleet':24}{'payments/s':>12}{'web ms':>9}{'PostgreSQL ms':>15}{'both, of 1 host':>18}{'errors':>8}")
        one = None
        for fleet, results in rounds.items():
            rate, web, postgres = (
                statistics.median(getattr(result, field) for result in results)
                for field in ("rate", "web_ms", "postgres_ms")
            )
            one = one or web + postgres
            errors = sum(result.errors for result in results)
            print(f"{fleet:24}{rate:12.0f}{web:9.2f}{postgres:15.2f}{(web + postgres) / one:18.2f}{errors:8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
