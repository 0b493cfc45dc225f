"""Measure the cost of sealing for deliveries, and the verification of a million leaves. `make bench-audit`."""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from fintech.run import interruption
from fintech.run.postgres import EmbeddedPostgres

FLOOR = 0.75  # rate of inserts with the sealer, relative to the rate without
BODY = b"x" * 1242  # as large as a delivery of one alert
INSERT = "INSERT INTO alerts_audit_delivery (source, body, sha256, size) VALUES ('bench', %s, %s, %s)"
FILL = """
INSERT INTO alerts_audit_delivery (source, body, sha256, size, request_id)
SELECT 'bench', body, sha256(body), octet_length(body), number::text
FROM (SELECT number, convert_to(repeat(md5(number::text), 38), 'UTF8') AS body
      FROM generate_series(1, %s) AS number) AS made
"""


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """Start a separate durable server, migrated, and return its environment."""
    interruption.install()
    with tempfile.TemporaryDirectory(prefix="fintech-bench-") as directory:
        Path(directory).chmod(0o755)
        server = EmbeddedPostgres(Path(directory) / "postgres", settings={"max_wal_size": "4GB"})
        try:
            server.start()
            server.ensure_database("bench")
            environment = {**os.environ, **server.urls("bench"), "AUDIT_DIR": str(Path(directory) / "audit")}
            for name in ("DJANGO_SECRET_KEY", "GATEWAY_TOKEN", "METRICS_TOKEN", "ALERT_TOKEN"):
                environment.setdefault(name, "bench")
            run(environment, "migrate", "--verbosity=0")
            yield environment
        finally:
            server.stop("immediate")


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command], env=environment, check=True, capture_output=True, text=True
    )


# --- Inserts beside the sealer -------------------------------------------------------------------------------------


def insert_rate(url: str, seconds: float, clients: int) -> float:
    """Return the deliveries a second, each its own commit, as the receiver stores them."""
    counts, stop = [0] * clients, threading.Event()
    digest = hashlib.sha256(BODY).digest()

    def insert(place: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute(INSERT, [BODY, digest, len(BODY)], prepare=True)
                counts[place] += 1

    threads = [threading.Thread(target=insert, args=[place]) for place in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


@contextmanager
def sealing(environment: dict[str, str], every: float) -> Iterator[None]:
    """Run a process that seals continuously, far more often than the worker does."""
    program = "\n".join(
        [
            "import django, time; django.setup()",
            "from alerts_audit.seal.sealer import seal",
            f"while True: seal(); time.sleep({every})",
        ]
    )
    environment = {**environment, "DJANGO_SETTINGS_MODULE": "fintech.settings", "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        time.sleep(3)  # it has begun
        yield
    finally:
        process.terminate()
        process.wait()


def measure_inserts(environment: dict[str, str], seconds: float, rounds: int, every: float) -> bool:
    url = environment["DATABASE_URL"]
    insert_rate(url, 1, 4)  # warm up
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(insert_rate(url, seconds, 4))
        with sealing(environment, every):
            beside.append(insert_rate(url, seconds, 4))
    ratio = statistics.median(with_it / without for with_it, without in zip(beside, alone, strict=True))
    print(f"deliveries stored, 4 connections: {statistics.median(alone):8.0f}/s without the sealer")
    print(f"                                  {statistics.median(beside):8.0f}/s sealed every {every:g} s")
    print(
        f"with / without, of each round {ratio:12.2f}   floor {FLOOR:.2f}{'' if ratio >= FLOOR else '   BELOW'}",
        flush=True,
    )
    return ratio >= FLOOR


# --- A million leaves ----------------------------------------------------------------------------------------------


def timed(environment: dict[str, str], code: str) -> tuple[float, float, int]:
    """Run a command in a process. Return seconds, CPU seconds, and the peak of resident memory (MiB)."""
    program = "\n".join(
        [
            "import django, resource, time; django.setup()",
            "began, used = time.monotonic(), time.process_time()",
            code,
            "memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024",
            "print(time.monotonic() - began, time.process_time() - used, memory)",
        ]
    )
    environment = {**environment, "DJANGO_SETTINGS_MODULE": "fintech.settings", "LOG_LEVEL": "WARNING"}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    seconds, cpu, memory = output.split()[-3:]
    return float(seconds), float(cpu), int(memory)


def measure_verification(environment: dict[str, str], leaves: int) -> None:
    with psycopg.connect(environment["DATABASE_OWNER_URL"], autocommit=True) as connection:
        (there,) = connection.execute("SELECT count(*) FROM alerts_audit_delivery").fetchone() or (0,)
        # loadtests/bench/alerts.py measures the projection; here only the log counts.
        connection.execute("ALTER TABLE alerts_audit_delivery DISABLE TRIGGER remember_pending")
        connection.execute(FILL, [max(1, leaves - there)])
        connection.execute("ALTER TABLE alerts_audit_delivery ENABLE TRIGGER remember_pending")
        connection.execute("VACUUM ANALYZE alerts_audit_delivery")
    seal = "from alerts_audit.seal.sealer import seal; seal()"
    verify = "from alerts_audit.seal.verify import verify; report = verify({}); assert report.ok, report.findings[:3]"
    now = "since=__import__('datetime').datetime.now(__import__('datetime').UTC)"
    prove = f"from alerts_audit.seal.proofs import prove; prove('delivery', {leaves // 2})"
    for what, code in (
        (f"sealing {leaves:,} leaves", seal),
        ("sealing when nothing came", seal),
        (f"verifying {leaves:,} leaves", verify.format("projection=False")),
        ("verifying a window without news", verify.format(now)),
        ("proving one delivery in the middle", prove),
    ):
        seconds, cpu, memory = timed(environment, code)
        print(f"{what:36}{seconds:8.2f} s  of it {cpu:6.2f} s of our CPU {memory:6} MiB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.sealing", description=__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000, help="how many are verified (1,000,000)")
    parser.add_argument("--seconds", type=float, default=5, help="length of each turn of inserts (5)")
    parser.add_argument("--rounds", type=int, default=5, help="turns with and without the sealer (5)")
    parser.add_argument("--every", type=float, default=1, help="seconds between two seals beside the inserts (1)")
    options = parser.parse_args()
    with database() as environment:
        good = measure_inserts(environment, options.seconds, options.rounds, options.every)
        measure_verification(environment, options.leaves)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
