"""(a) pgbench with the same two statements: the limit of the database alone."""

import os
import re
import subprocess
from pathlib import Path

from fintech.run.postgres import PROGRAMS
from loadtests.bench.client import Result
from loadtests.bench.servers import World

ROW = """json_build_object('id', {id}, 'merchant_id', :merchant::bigint, 'key', {id},
 'amount', 1250, 'currency', 'EUR', 'status', 'processing', 'fraud_score', 0.0, 'fraud_reasons', '[]'::json,
 'customer', 'c_42',
 'reference', 'order-7', 'payment_method', json_build_object('type', 'card', 'token', 'tok_visa'),
 'metadata', '{}'::json, 'fee_basis_points', 150, 'gateway', 'simulator', 'gateway_key', {id},
 'lease_token', {id}, 'lease_seconds', 8)"""
SETTLED = """json_build_object('id', {id}, 'lease_token', {id}, 'status', 'succeeded',
 'gateway_reference', 'null', 'actor', 'api', 'data', json_build_object('gateway', '[]'::json))"""


def write_script(world: World, rows: int) -> Path:
    """Write a pgbench script: two prepared statements for `rows` payments, each its own commit."""
    from payments.storage.payment_sql import CREATE_PAYMENTS, SETTLE_PAYMENTS

    path = world.directory / f"payments-{rows}.pgbench"
    lines = [f"\\set merchant {world.merchant_id}", "SELECT gen_random_uuid() AS id \\gset"]
    for name, statement, row in (("created", CREATE_PAYMENTS, ROW), ("settled", SETTLE_PAYMENTS, SETTLED)):
        one = row.replace("{id}", "md5(:id::text || number)::uuid")
        array = f"(SELECT json_agg({one}) FROM generate_series(1, {rows}) AS number)"  # noqa: S608 - our own texts
        text = statement.replace(f"%({name})s::json", array).replace("%(writer)s", "NULL")
        lines.append(text + ";")
    path.write_text("\n".join(lines) + "\n")
    return path


def run_pgbench(script: Path, *, rows: int, clients: int, seconds: int, url: str = "") -> Result:
    command = [str(PROGRAMS / "pgbench"), "-n", "-M", "prepared", "-f", str(script), "-c", str(clients), "-j", "2"]
    command += ["-T", str(seconds), url or os.environ["DATABASE_URL"]]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    number = re.search(r"tps = ([\d.]+)", output)
    failed = re.search(r"number of failed transactions: (\d+)", output)
    assert number is not None, output
    return Result(seconds=1, payments=round(float(number[1]) * rows), errors=int(failed[1]) if failed else 0)
