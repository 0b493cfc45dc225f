"""Measure sealing and the verification of a million leaves: `make bench-audit`.

`make bench-alerts` measures what sealing costs the deliveries that come meanwhile.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from fintech.run.postgres import EmbeddedPostgres
from loadtests.argument_types import count
from loadtests.bench.filled_database import connect, database

FILL = """
INSERT INTO alerts_audit_delivery (source, body, sha256, size, request_id)
SELECT 'bench', body, sha256(body), octet_length(body), number::text
FROM (SELECT number, convert_to(repeat(md5(number::text), 38), 'UTF8') AS body
      FROM generate_series(1, %s) AS number) AS made
"""


def timed(code: str) -> tuple[float, float, int]:
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
    output = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, cpu, memory = output.split()[-3:]
    return float(seconds), float(cpu), int(memory)


def measure_verification(server: EmbeddedPostgres, leaves: int) -> None:
    with connect(server) as connection:
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
        seconds, cpu, memory = timed(code)
        print(f"{what:36}{seconds:8.2f} s  of it {cpu:6.2f} s of our CPU {memory:6} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.sealing", description=__doc__)
    parser.add_argument("--leaves", type=count, default=1_000_000, help="how many are verified (1,000,000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fintech-bench-") as name:
        Path(name).chmod(0o755)
        with database(Path(name), {"max_wal_size": "4GB"}) as server:
            measure_verification(server, options.leaves)


if __name__ == "__main__":
    main()
