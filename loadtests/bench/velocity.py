"""Measure the cost of velocity rules: `make bench-velocity`, or `make bench-velocity RATE=1000`.

One process stores groups of payments by the two forms of T1 in turn, on one database: without rules, and with three
rules (customer, payment token, card country) that no payment exceeds. Customers and tokens are drawn from many, and all
payments share one country, whose counter every group updates. The difference of the times, and of the CPU times of
PostgreSQL and Python together, is the cost of the rules for one payment.

With `--rate`, clients send so many payments a second over HTTP, of two merchants in turn: one without rules, and one
with the three. Then the cost is the difference of the CPU times of the web and PostgreSQL.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from fintech.run.postgres import EmbeddedPostgres
from loadtests.argument_types import count
from loadtests.bench.client import BODY, held_rate, payment_requests, run_load
from loadtests.bench.cpu_time import Meter, measured
from loadtests.bench.filled_database import database, processor_seconds
from loadtests.bench.servers import World, make_world, start_ours

ROUNDS = 7
PAYMENTS = 1_000  # of one round
CLIENTS, SECONDS = 64, 4  # of one round with --rate
HOUR = 3600


@dataclass
class Times:
    """Milliseconds for a payment in each round."""

    waited: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=count, nargs="+", default=[1, 10, 100], help="payments in one statement")
    parser.add_argument("--rate", type=count, help="payments a second over HTTP, instead of groups")
    options = parser.parse_args()
    if options.rate:
        with tempfile.TemporaryDirectory(prefix="fintech-bench-") as name, make_world(Path(name)) as world:
            compare_over_http(world, options.rate)
        return
    with tempfile.TemporaryDirectory() as name, database(Path(name)) as server:
        for group in options.groups:
            compare(group, server)


def compare(group: int, server: EmbeddedPostgres) -> None:
    from payments.models import Merchant
    from payments.storage.group_commit import writer
    from payments.storage.payment_sql import Part

    merchant = Merchant.objects.create(name=f"bench {group}", country="DE").pk
    limits = make_rules(merchant)
    random, plain, watched = Random(1), Times(), Times()
    for number in range(ROUNDS + 1):
        for times, rules in ((plain, ()), (watched, limits))[:: 1 if number % 2 else -1]:
            groups = [
                [make_row(merchant, rules, random) for _ in range(group)] for _ in range(max(1, PAYMENTS // group))
            ]
            part = Part.WATCHED if rules else Part.CREATED
            began, spent = time.perf_counter(), processor_seconds(server)
            for rows in groups:
                writer.write(part, rows)
            if number:  # the first round fills the caches
                count = group * len(groups)
                times.waited.append(1000 * (time.perf_counter() - began) / count)
                times.busy.append(1000 * (processor_seconds(server) - spent) / count)
    report(f"groups of {group:4}", plain, watched)


def compare_over_http(world: World, rate: float) -> None:
    from payments.api_keys import create_api_key
    from payments.models import ApiKey, Merchant

    merchant = Merchant.objects.create(name="with rules", country="DE")
    make_rules(merchant.pk)
    _, watched_key = create_api_key(merchant=merchant, name="bench", scopes=list(ApiKey.Scope.values))
    plain, watched, random = Times(), Times(), Random(1)

    def body() -> str:
        method = {"type": "card", "token": f"tok_{random.randrange(10_000)}", "country": "DE"}
        return json.dumps({**BODY, "customer": f"c_{random.randrange(10_000)}", "payment_method": method})

    with start_ours(world, "ours", BENCH_GATEWAY="null"):
        meter = Meter(world.pids["ours"], world.database_pid)
        for number in range(ROUNDS + 1):
            for times, key in ((plain, world.api_key), (watched, watched_key))[:: 1 if number % 2 else -1]:
                make = payment_requests("/v1/transactions", {"Authorization": f"Bearer {key}"}, make_body=body)
                port, pause = world.ports["ours"], held_rate(rate)
                result = measured(meter, partial(run_load, port, make, clients=CLIENTS, seconds=SECONDS, pause=pause))()
                print(f"{result.rate:.0f} payments/s, {result.errors} errors", flush=True)
                if number:  # the first round fills the caches
                    times.waited.append(result.percentile(0.5))
                    times.busy.append(result.web_ms + result.postgres_ms)
    report(f"{rate:.0f} payments/s", plain, watched)


def make_rules(merchant: int) -> tuple[Any, ...]:
    from payments.fraud.rules import VelocityLimit
    from payments.models import VelocityRule

    limits: list[dict[str, Any]] = [
        {"field": "customer", "maximum": 10**9, "currency": None},
        {"field": "token", "maximum": 10**15, "currency": "EUR"},
        {"field": "country", "maximum": 10**9, "currency": None},
    ]
    made = []
    for limit in limits:
        limit |= {"window_seconds": HOUR, "outcome": "review"}
        measure = "sum" if limit["currency"] else "count"
        rule = VelocityRule.objects.create(merchant_id=merchant, measure=measure, **limit)
        made.append(VelocityLimit(rule.pk, **limit))
    return tuple(made)


def make_row(merchant: int, rules: tuple[Any, ...], random: Random) -> dict[str, Any]:
    from uuid_utils.compat import uuid7

    from payments.fraud.rules import MerchantContext, Verdict
    from payments.fraud.velocity import velocity_columns
    from payments.schemas import PaymentInput, PaymentMethod

    method = PaymentMethod("card", token=f"tok_{random.randrange(10_000)}", country="DE")
    body = PaymentInput(1250, "EUR", customer=f"c_{random.randrange(10_000)}", payment_method=method)
    row = {
        "id": uuid7(),
        "merchant_id": merchant,
        "key": uuid4().hex,
        "amount": body.amount,
        "currency": body.currency,
        "fraud_score": 0.0,
        "fraud_reasons": [],
        "customer": body.customer,
        "payment_method": {"type": "card", "token": method.token, "country": method.country},
        "metadata": {},
        "fee_basis_points": 150,
        "gateway": "simulator",
        "gateway_key": uuid4(),
        "lease_token": uuid4(),
        "lease_seconds": 60,
    }
    if rules:
        context = MerchantContext("DE", 0.8, {}, 5000, velocity=rules)
        return row | velocity_columns(body, Verdict(0.0, [], blocked=False), context)
    return row | {"status": "processing"}


def report(load: str, plain: Times, watched: Times) -> None:
    for name in ("waited", "busy"):
        before, after = getattr(plain, name), getattr(watched, name)
        costs = sorted(b - a for a, b in zip(before, after, strict=True))
        print(
            f"{load}: {name:6} {statistics.median(before):.3f} ms without rules,"
            f" {statistics.median(after):.3f} with three; cost {statistics.median(costs):.3f}"
            f" ({costs[0]:.3f} to {costs[-1]:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
