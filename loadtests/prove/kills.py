"""Load with kills, and what the books and the trail say afterwards: kills.json."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from fintech.testing.processes import TooLate, wait_until
from loadtests.drill.lab import Conditions, Drill, running_drill
from loadtests.own_platform import OwnPlatform
from loadtests.prove import trail
from loadtests.prove.fleet import UNSEEN, drifts, is_zero, read_worker
from loadtests.prove.lifecycles import Lifecycles

KILL_SECONDS = 3.0
# The jobs that measure the drifts.
MEASURING = ("drift", "gateway_drift", "balance")
OPERATIONS = ("capture", "void", "refund", "authentication", "review", "dispute")
# What the worker still has to do.
LEFT = """
SELECT 'operations that are not resolved' FROM payments_unresolved
UNION SELECT 'events of the gateway that are not applied' FROM payments_gatewayevent WHERE processed_at IS NULL
UNION SELECT 'challenges that are open' FROM payments_authentication WHERE outcome IS NULL
"""
CONDITIONS = Conditions(watched=True, settings=(("ALERT_GRACE_SECONDS", "9"), ("ALERT_QUIET_SECONDS", "4")))


def run(folder: Path, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    with running_drill(folder, CONDITIONS) as drill:
        drill.wait_until_calm()
        begin = time.time()
        with Lifecycles(drill.own, has_disputes=True):
            kills = kill_for(drill.own, seconds)
        say(f"{kills} kills under load; waiting for rest.")
        drill.traffic.stopped.set()
        fired = partial(trail.firings, drill, begin, time.time())
        return {"kills": kills, **look_at_books(drill.own), **look_at_trail(drill, fired)}


def kill_for(own: OwnPlatform, seconds: float) -> int:
    """Kill one process after the other by SIGKILL, and start what does not start by itself."""
    kills = 0
    end = time.monotonic() + seconds
    for victim in cycle(victims(own)):
        if time.monotonic() > end:
            return kills
        victim()
        kills += 1
        own.platform.start()
        time.sleep(KILL_SECONDS)
    return kills


def victims(own: OwnPlatform) -> Iterator[Callable[[], object]]:
    platform = own.platform
    assert platform.worker is not None
    yield platform.kill_one_worker
    yield platform.metrics.kill
    yield platform.worker.kill
    yield platform.kill_one_worker
    yield platform.web.kill
    yield own.gateway.restart  # kills it first


def look_at_trail(drill: Drill, fired: Callable[[], list[trail.Period]]) -> dict[str, Any]:
    """Return the figures of the trail, once it has each alert that fired and no gap that can close, or after a time."""
    for is_at_rest in (lambda: not trail.unrecorded(drill, fired()), lambda: not trail.open_gaps(drill).others):
        with suppress(TooLate):  # the figures name what is left, and the promise is broken
            wait_until(is_at_rest, 60)
    gaps = trail.open_gaps(drill)
    [[deliveries]] = drill.own.query("SELECT count(*) FROM alerts_audit_delivery")
    return {
        "deliveries": deliveries,
        "firings": len(fired()),
        "unrecorded": [str(period) for period in trail.unrecorded(drill, fired())],
        "never_arrived": gaps.never_arrived,
        "open_gaps": gaps.others,
        "verified": drill.own.manage("verify_audit")[0] == 0,
    }


def look_at_books(own: OwnPlatform) -> dict[str, Any]:
    """Return the figures at rest: no operation is unresolved, and each counter was compared with the rows again."""
    wait_until(lambda: not own.query(LEFT), 60, lambda: f"at rest: {own.query(LEFT)}")
    wait_until_measured(own)
    read = partial(drifts, [own.platform], UNSEEN)
    wait_until(lambda: is_zero(read()), 60, lambda: f"no drift: {read()}")
    findings = [name for name in ("audit_ledger", "reconcile") if own.manage(name)[0] != 0]
    [[payments]] = own.query("SELECT count(*) FROM payments_transaction")
    return {"payments": payments, "operations": count_operations(own), "drift": read(), "findings": findings}


def wait_until_measured(own: OwnPlatform) -> None:
    """Wait until each drift was measured from now on. A job that succeeds next may have begun before, the one after it
    has not.
    """
    for _ in range(2):
        now = time.time()
        wait_until(partial(have_succeeded, own, now), 60, "the drifts are measured again")


def have_succeeded(own: OwnPlatform, since: float) -> bool:
    """Return True if each of the measuring jobs has succeeded since this Unix time."""
    samples = read_worker(own.platform)
    return all(samples.get(f'worker_job_last_success_timestamp_seconds{{job="{job}"}}', 0) > since for job in MEASURING)


def count_operations(own: OwnPlatform) -> dict[str, int]:
    return {name: own.query(f"SELECT count(*) FROM payments_{name}")[0][0] for name in OPERATIONS}  # noqa: S608
