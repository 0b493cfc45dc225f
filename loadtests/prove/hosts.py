"""Load over several hosts that are killed, added and removed, and whose clocks differ: hosts.json.

Three web hosts and two workers share one database. Merchants use every operation, and alerts arrive, at any host. The
drifts are read several times a second while this goes on, and the books and the trail are compared at the end.
"""

import http.client
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any

from fintech.testing.processes import Load, wait_until
from loadtests.own_platform import own_platform
from loadtests.prove.fleet import UNSEEN, Fleet, drifts, is_zero, unmeasured
from loadtests.prove.kills import LEFT
from loadtests.prove.lifecycles import Lifecycles

# Seconds by which the clocks of hosts differ from the database's.
CLOCK = 3.0
PAUSE_SECONDS = 3.0
ALERT_SECONDS = 0.5
SAMPLE_SECONDS = 0.25
REST_SECONDS = 120
SETTINGS = {
    "GATEWAY_TIMEOUT_SECONDS": "1.5",
    "GATEWAY_DEADLINE_SECONDS": "2",
    "LEASE_SECONDS": "3",
    "RETIRE_SECONDS": "1",
    "RETIRE_SCRAPES": "1",
    "AUDIT_SEAL_SECONDS": "2",
}


def run(folder: Path, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of so many seconds of load with kills, and at least of one round of them."""
    with own_platform(folder, postgres={}, workers=1, env=SETTINGS | {"HOST_ID": "first"}) as own:
        fleet = Fleet(own, folder, SETTINGS)
        try:
            fleet.add("second", worker=True, clock=CLOCK)
            fleet.add("third", clock=-CLOCK)
            wait_until(lambda: not unmeasured(drifts(fleet.hosts)), REST_SECONDS, "the drifts are known")
            alerts, watch = Alerts(fleet), Watch(fleet)
            with watch, alerts, Lifecycles(own, merchants=4, request=fleet.request):
                done = disturb(fleet, seconds)
            say(f"{done.total()} disturbances under load; waiting for rest.")
            return {"done": dict(done), **watch.found(), **look(fleet, alerts)}
        finally:
            fleet.stop()


def disturb(fleet: Fleet, seconds: float) -> Counter[str]:
    """Cause one disturbance after the other until the time is over and each has happened."""
    done: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    disturbances = make_disturbances(fleet)
    for name in cycle(disturbances):
        if time.monotonic() > ends and len(done) == len(disturbances):
            return done
        disturbances[name]()
        done[name] += 1
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("a cycle does not end")


def make_disturbances(fleet: Fleet) -> dict[str, Callable[[], object]]:
    names, clocks = count(4), cycle([0.0, CLOCK, -CLOCK])

    def add() -> None:
        fleet.add(f"host-{next(names)}", clock=next(clocks))

    return {
        "second_host_killed": lambda: fleet.restart(fleet.hosts[1]),
        "leader_killed": fleet.kill_leader,
        "host_added": add,
        "host_removed": lambda: fleet.remove(fleet.hosts[2]),
        "first_host_killed": lambda: fleet.restart(fleet.hosts[0]),
    }


class Alerts(Load):
    """Posts alerts to any host, each until it is acknowledged."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__([self._run])
        self.acknowledged: list[str] = []
        self._fleet = fleet

    def _run(self) -> None:
        while not self.stopped.wait(ALERT_SECONDS):
            name = f"Test{secrets.token_hex(12)}"
            body = make_alert(name)
            wait_until(partial(self._is_stored, body), REST_SECONDS, f"{name} is acknowledged")
            self.acknowledged.append(name)

    def _is_stored(self, body: dict[str, Any]) -> bool:
        headers = {"Authorization": f"Bearer {os.environ['ALERT_TOKEN']}"}
        with suppress(OSError, http.client.HTTPException):
            return self._fleet.request("POST", "/alert", body, headers=headers, timeout=5).status == 200
        return False


def make_alert(name: str) -> dict[str, Any]:
    labels = {"alertname": name, "severity": "warning"}
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {},
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": secrets.token_hex(8),
    }
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{name}"}}',
        "receiver": "fintech",
        "status": "firing",
        "truncatedAlerts": 0,
        "groupLabels": {"alertname": name},
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": [alert],
    }


class Watch(Load):
    """Reads the drifts all the time, and keeps the largest of each that was not 0."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__([self._run])
        self._fleet = fleet
        self._samples = 0
        self._not_zero: dict[str, float] = {}

    def _run(self) -> None:
        while not self.stopped.wait(SAMPLE_SECONDS):
            self.note(drifts(self._fleet.hosts))

    def note(self, found: Mapping[str, float]) -> None:
        """Note a look. It counts if the counters were compared."""
        self._samples += any(name.startswith("kpi_drift") for name in found)
        for name, value in found.items():
            if value:
                self._not_zero[name] = max(value, self._not_zero.get(name, 0.0), key=abs)

    def found(self) -> dict[str, Any]:
        return {"samples": self._samples, "drift_under_load": self._not_zero}


def look(fleet: Fleet, alerts: Alerts) -> dict[str, Any]:
    """Return the figures at rest: of all counters, of the books, and of the trail."""
    own = fleet.own
    wait_until(lambda: not own.query(LEFT), REST_SECONDS, lambda: f"at rest: {own.query(LEFT)}")
    wait_until(
        lambda: count_differences(fleet) == {}, REST_SECONDS, lambda: f"counters = rows: {count_differences(fleet)}"
    )
    read = partial(drifts, fleet.hosts, UNSEEN)
    wait_until(lambda: is_zero(read()), REST_SECONDS, lambda: f"no drift: {read()}")
    payments = {str(row[0]) for row in own.query("SELECT id FROM payments_transaction")}
    stored = "\n".join(bytes(row[0]).decode() for row in own.query("SELECT body FROM alerts_audit_delivery"))
    commands = ("audit_ledger", "reconcile", "verify_audit")
    return {
        "payments": len(payments),
        "lost_payments": sorted(set(fleet.acknowledged) - payments),
        "counters": fleet.counters(),
        "differences": count_differences(fleet),
        "drift": read(),
        "answers": dict(fleet.answers),
        "alerts": len(alerts.acknowledged),
        "lost_alerts": [name for name in alerts.acknowledged if name not in stored],
        "findings": [name for name in commands if own.manage(name)[0] != 0],
    }


def count_differences(fleet: Fleet) -> dict[str, int] | None:
    """Return the counters of all hosts, retired ones included, minus the rows; None if a host does not answer."""
    final = "settled_at IS NOT NULL AND status <> 'voided'"  # a voided payment has a counter of its own
    try:
        counted = Counter(fleet.counters())
    except (OSError, http.client.HTTPException):
        return None
    query = f"SELECT status, count(*) FROM payments_transaction WHERE {final} GROUP BY 1"  # noqa: S608
    counted.subtract(dict(fleet.own.query(query)))
    return {status: difference for status, difference in counted.items() if difference}
