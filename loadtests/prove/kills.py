"""Load with kills, and what the books and the trail say afterwards: kills.json."""

import http.client
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from fintech.testing.processes import wait_until
from loadtests.drill.lab import Conditions, Drill, running_drill

KILL_SECONDS = 3.0
CONDITIONS = Conditions(watched=True, settings=(("ALERT_GRACE_SECONDS", "9"), ("ALERT_QUIET_SECONDS", "4")))


def run(folder: Path, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    with running_drill(folder, CONDITIONS) as drill:
        drill.wait_until_calm()
        kills = kill_for(drill, seconds)
        say(f"{kills} kills under load; waiting for rest.")
        drill.traffic.stopped.set()
        return {"kills": kills, **look(drill)}


def kill_for(drill: Drill, seconds: float) -> int:
    """Kill one process after the other by SIGKILL, and start what does not start by itself."""
    kills = 0
    end = time.monotonic() + seconds
    for victim in cycle(victims(drill)):
        if time.monotonic() > end:
            return kills
        victim()
        kills += 1
        drill.own.platform.start()
        time.sleep(KILL_SECONDS)
    return kills


def victims(drill: Drill) -> Iterator[Callable[[], object]]:
    platform = drill.own.platform
    assert platform.worker is not None
    yield platform.kill_one_worker
    yield platform.metrics.kill
    yield platform.worker.kill
    yield platform.kill_one_worker
    yield platform.web.kill
    yield drill.gateway.restart  # kills it first


def look(drill: Drill) -> dict[str, Any]:
    """Return the figures at rest: no payment is unresolved, and each counter was compared with the rows again."""
    own = drill.own
    wait_until(lambda: not own.query("SELECT 1 FROM payments_unresolved LIMIT 1"), 60, "every payment is resolved")
    wait_until(lambda: drift(drill) and not any(drift(drill).values()), 60, lambda: f"no drift: {drift(drill)}")
    findings = [name for name in ("audit_ledger", "reconcile") if own.manage(name)[0] != 0]
    wait_until(lambda: not open_gaps(drill), 60, lambda: f"no gap: {open_gaps(drill)}")
    [[payments]] = own.query("SELECT count(*) FROM payments_transaction")
    [[deliveries]] = own.query("SELECT count(*) FROM alerts_audit_delivery")
    return {
        "payments": payments,
        "drift": drift(drill),
        "findings": findings,
        "deliveries": deliveries,
        "open_gaps": open_gaps(drill),
        "verified": own.manage("verify_audit")[0] == 0,
    }


def drift(drill: Drill) -> dict[str, float]:
    """Return the differences that the worker exports; none while it does not answer."""
    try:
        found = drill.own.platform.scrape(drill.own.platform.worker_port)
    except (OSError, http.client.HTTPException):
        return {}
    names = ("kpi_drift", "operation_drift", "gateway_drift", "ledger_imbalance")
    return {name: value for name, value in found.items() if name.startswith(names)}


def open_gaps(drill: Drill) -> int:
    [[number]] = drill.own.query("SELECT count(*) FROM alerts_audit_opengap")
    return int(number)
