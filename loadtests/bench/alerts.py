"""`make bench-alerts`: the alert trail over HTTP, against the real gunicorn and a durable PostgreSQL.

All contenders run in interleaved rounds on one machine, so compare ratios. An alert is *stored* when its delivery is
committed with its hash and answered; it is *projected* when its identity, episode and transition can be read. The
tutorial (tutorial_alerts.py) has stored an alert when its rows are committed.
"""

import argparse
import hashlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from fintech.testing.processes import Program, answers, free_port, wait_until
from loadtests.argument_types import count, positive
from loadtests.bench.client import content_length, run_load
from loadtests.bench.servers import PYTHON, WORKERS, World, is_chosen, make_world

STORED, PROJECTED = "1,000 in one payload, stored (alerts/s)", "1,000 in one payload, projected (alerts/s)"
CREATE, SAME_ROWS = "tutorial, one create per alert (alerts/s)", "tutorial, the same rows (alerts/s)"
SEALED, UNSEALED = "sealed each second (deliveries/s)", "not sealed (deliveries/s)"
# Ratios that must hold: (name, numerator, denominator, floor).
FLOORS = [
    ("1,000 in one payload, stored / one ORM create per alert", STORED, CREATE, 25.0),
    ("1,000 in one payload, projected / one ORM create per alert", PROJECTED, CREATE, 5.0),
    ("1,000 in one payload, projected / the same rows by ORM", PROJECTED, SAME_ROWS, 15.0),
    ("deliveries, sealed each second / not sealed", SEALED, UNSEALED, 0.75),
]
LONGEST_ANSWER = 3.0  # seconds, for 10,000 alerts in one payload


def alert(number: int, group: str) -> dict[str, Any]:
    """Return an alert of about 620 bytes, as Alertmanager sends it; 10,000 are 6.2 MB."""
    return {
        "status": "firing",
        "labels": {
            "alertname": f"BenchAlert{number % 20}",
            "cluster": "bench",
            "instance": f"10.{group}.{number}:9100",
            "job": "node",
            "severity": ("critical", "warning")[number % 2],
            "team": "payments",
        },
        "annotations": {
            "description": "The disk of this instance fills within four hours at the rate of the last six hours.",
            "runbook_url": "https://runbooks.bench.example/node/DiskFillsWithinFourHours.md",
            "summary": f"Disk fills on instance {number}.",
        },
        "startsAt": "2026-11-22T13:40:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.bench.example:9090/graph?g0.expr=predict_linear%28node_filesystem_free%29",
        "fingerprint": hashlib.sha256(f"{group}.{number}".encode()).hexdigest()[:16],
    }


def body(alerts: int) -> bytes:
    """Return a payload of new alerts."""
    group = secrets.token_hex(6)
    document = {
        "version": "4",
        "groupKey": f'{{}}:{{group="{group}"}}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "audit",
        "groupLabels": {"group": group},
        "commonLabels": {"cluster": "bench"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.bench.example:9093",
        "alerts": [alert(number, group) for number in range(alerts)],
    }
    return json.dumps(document, separators=(",", ":")).encode()


class Connection:
    """One cheap keep-alive connection, because the benchmark measures the server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, content: bytes, path: str = "/alert") -> dict[str, Any]:
        self._socket.sendall(head_of(content, path) + content)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        head, _, rest = answer.partition(b"\r\n\r\n")
        while len(rest) < content_length(head):
            rest += self._receive()
        assert head[9:12] == b"200", head
        return json.loads(rest)

    def _receive(self) -> bytes:
        part = self._socket.recv(65536)
        assert part, "the server hung up"
        return part


def head_of(content: bytes, path: str = "/alert") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {os.environ['ALERT_TOKEN']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()


class Trail:
    """The state of our deliveries in the database, through its own connection."""

    def __init__(self, world: World) -> None:
        self._connection = psycopg.connect(world.database.url("postgres", "bench"), autocommit=True)

    def wait_until_projected(self, deliveries: list[int]) -> None:
        """Poll every two milliseconds, by key."""
        wait_until(lambda: not self._missing(deliveries), timeout=300, what="all is projected", interval=0.002)

    def _missing(self, deliveries: list[int]) -> bool:
        found = self._connection.execute(
            "SELECT count(*) FROM alerts_audit_envelope WHERE delivery_id = ANY(%s)", [deliveries]
        ).fetchone()
        assert found is not None
        return found[0] < len(deliveries)

    def sealed(self) -> int:
        row = self._connection.execute("SELECT count(*) FROM alerts_audit_leaf WHERE kind = 'delivery'").fetchone()
        assert row is not None
        return row[0]

    def settle(self) -> int:
        """Wait until a starting worker has sealed the rows of the previous turn. Return the number of sealed rows."""
        before = -1
        while (sealed := self.sealed()) != before:
            before = sealed
            time.sleep(3)
        return sealed

    def rest(self) -> None:
        """Wait until nothing of the previous round is left to be projected."""
        pending = "SELECT count(*) FROM alerts_audit_pending"
        wait_until(lambda: self._connection.execute(pending).fetchone() == (0,), timeout=300, what="nothing is pending")


class Bench:
    """The contenders: each method is one turn and returns its result in the unit of its name in the report."""

    def __init__(self, world: World, seconds: float) -> None:
        self.world, self.seconds, self.trail = world, seconds, Trail(world)

    def tutorial(self, path: str) -> float:
        content, connection = body(1000), Connection(self.world.ports["tutorial"])
        start = time.perf_counter()
        connection.post(content, path)
        return 1000 / (time.perf_counter() - start)

    def in_one_payload(self, alerts: int) -> tuple[float, float]:
        """Return the seconds until the payload is answered, and until it is projected."""
        content, connection = body(alerts), Connection(self.world.ports["ours"])
        start = time.perf_counter()
        delivery = connection.post(content)["id"]
        answered = time.perf_counter() - start
        self.trail.wait_until_projected([delivery])
        return answered, time.perf_counter() - start

    def thousand(self) -> dict[str, float]:
        answered, projected = self.in_one_payload(1000)
        return {STORED: 1000 / answered, PROJECTED: 1000 / projected}

    def ten_thousand(self) -> dict[str, float]:
        answered, projected = self.in_one_payload(10_000)
        return {"10,000 in one payload, answered (s)": answered, "10,000 in one payload, projected (s)": projected}

    def many_payloads(self, connections: int) -> dict[str, float]:
        bodies = [body(1) for _ in range(1000)]
        shares = [bodies[place::connections] for place in range(connections)]

        def send(share: list[bytes]) -> list[int]:
            connection = Connection(self.world.ports["ours"])
            return [connection.post(content)["id"] for content in share]

        start = time.perf_counter()
        with ThreadPoolExecutor(connections) as threads:
            deliveries = [delivery for sent in threads.map(send, shares) for delivery in sent]
        answered = time.perf_counter() - start
        self.trail.wait_until_projected(deliveries)
        projected = time.perf_counter() - start
        name = f"1,000 payloads of one alert, {connections} connection{'s' if connections > 1 else ''}"
        return {f"{name}, answered (1/s)": 1000 / answered, f"{name}, projected (1/s)": 1000 / projected}

    def sealing(self) -> dict[str, float]:
        rate, sealed = self._flood(seal_seconds=1)
        assert sealed > rate * self.seconds / 2, "the sealer did not keep up"
        return {SEALED: rate}

    def not_sealing(self) -> dict[str, float]:
        rate, sealed = self._flood(seal_seconds=240)
        assert sealed == 0, "another process sealed"
        return {UNSEALED: rate}

    def _flood(self, *, seal_seconds: int) -> tuple[float, int]:
        """Return deliveries a second beside a worker with all of its jobs, and the number of sealed rows."""

        def make() -> bytes:
            content = body(1)
            return head_of(content) + content

        with running_worker(self.world, seal_seconds):
            before = self.trail.settle()
            result = run_load(self.world.ports["ours"], make, clients=8, seconds=self.seconds)
            sealed = self.trail.sealed() - before
        assert not result.errors
        return result.rate, sealed


@contextmanager
def running_worker(world: World, seal_seconds: int) -> Iterator[None]:
    port = free_port()
    env = world.environment("ours") | {
        "AUDIT_SEAL_SECONDS": str(seal_seconds),
        "AUDIT_VERIFY_SECONDS": "9000",
        "WORKER_METRICS_BIND": f"127.0.0.1:{port}",
    }
    program = Program([PYTHON, "manage.py", "worker"], log=world.directory / "worker.log", env=env)
    program.start(ready=lambda: answers(port, "/metrics"))
    try:
        yield
    finally:
        program.stop()


def start_servers(stack: ExitStack, world: World) -> None:
    owner = {**os.environ, "DATABASE_URL": os.environ["DATABASE_OWNER_URL"]}
    subprocess.run([PYTHON, "-m", "loadtests.bench.tutorial_alerts"], env=owner, check=True)
    ours = [PYTHON, "-m", "gunicorn", "-c", "fintech/server/gunicorn.py", "fintech.wsgi"]
    theirs = [PYTHON, "-m", "gunicorn", "-w", str(WORKERS), "-b", "127.0.0.1:{port}", "--timeout", "300"]
    theirs.append("loadtests.bench.tutorial_alerts")
    stack.enter_context(world.server("ours", ours, "/health", {}))
    stack.enter_context(world.server("tutorial", theirs, "/alert", {}))


def run_rounds(bench: Bench, rounds: int, only: Sequence[str] | None) -> dict[str, list[float]]:
    turns: dict[str, Callable[[], dict[str, float]]] = {
        "thousand": bench.thousand,
        "create": lambda: {CREATE: bench.tutorial("/alert")},
        "same rows": lambda: {SAME_ROWS: bench.tutorial("/episodes")},
        "sequential": lambda: bench.many_payloads(1),
        "parallel": lambda: bench.many_payloads(8),
        "10000": bench.ten_thousand,
        "not sealing": bench.not_sealing,
        "sealing": bench.sealing,
    }
    chosen = [turn for name, turn in turns.items() if is_chosen(name, only)]
    found: dict[str, list[float]] = {}
    for number in range(-1, rounds):  # the first warms up
        chosen.reverse()  # the order changes, so that no contender always comes first, or always after the same one
        for turn in chosen:
            bench.trail.rest()
            for name, value in turn().items():
                print(f"round {number + 1}/{rounds}  {name:64}{value:10.1f}", flush=True)
                if number >= 0:
                    found.setdefault(name, []).append(value)
    return found


def report(found: dict[str, list[float]]) -> bool:
    """Print medians and ratios; True if every bound holds."""
    median = {name: statistics.median(values) for name, values in found.items()}
    print(f"\n{'median':64}{'value':>10}")
    for name, value in median.items():
        print(f"{name:64}{value:10.2f}")
    print(f"\n{'bound':64}{'measured':>10}{'bound':>8}")
    good = True
    for name, top, bottom, floor in FLOORS:
        if top in median and bottom in median:
            ratio = median[top] / median[bottom]
            good &= ratio >= floor
            print(f"{name:64}{ratio:10.2f}{floor:8.2f}{'' if ratio >= floor else '   BELOW'}")
    answered = found.get("10,000 in one payload, answered (s)")
    if answered:
        good &= max(answered) < LONGEST_ANSWER
        print(f"{'10,000 in one payload, slowest answer (s)':64}{max(answered):10.2f}{'< 3.00':>8}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.alerts", description=__doc__)
    parser.add_argument("--rounds", type=count, default=5, help="how often each has its turn (5)")
    parser.add_argument("--seconds", type=positive, default=6, help="length of a turn with or without sealing (6)")
    parser.add_argument("--only", action="append", help="just the turns whose names hold this text; repeatable")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fintech-bench-") as directory, ExitStack() as stack:
        world = stack.enter_context(make_world(Path(directory)))
        os.environ["AUDIT_DIR"] = str(world.directory / "audit")
        start_servers(stack, world)
        found = run_rounds(Bench(world, options.seconds), options.rounds, options.only)
        return 0 if report(found) else 1


if __name__ == "__main__":
    sys.exit(main())
