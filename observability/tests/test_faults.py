"""Each fault sends its own alert to the trail, and no other.

`make prove` runs each fault on a separate platform until its alert resolves. `make test` runs three of them in
test_alert_trail.py.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from fintech.testing.processes import IN_FULL, request, wait_until
from observability.tests import monitoring_faults as faults
from observability.tests.drill import ALWAYS, MINUTE, SPEED, Drill, post_without_token, running_drill
from observability.tests.monitoring import SCRAPE_SECONDS, is_installed
from observability.tests.scorecard import DOCUMENT, Score, document, faults_in


@dataclass(frozen=True)
class Fault:
    """A fault from `begin` to `end`. Only `alert` may arrive, or no alert if it is None.

    The fault lasts for `minutes` of the rules' time, so that other alerts would have the time to fire. `needs` are
    exporters.
    """

    name: str
    alert: str | None
    begin: Callable[[Drill], object]
    end: Callable[[Drill], object]
    minutes: float = 8
    needs: tuple[str, ...] = ()
    resolves: bool = True


def profile(**changes: float) -> Callable[[Drill], object]:
    return lambda drill: drill.gateway.profile(**changes)


def stop_worker(drill: Drill) -> None:
    assert drill.own.platform.worker is not None
    drill.own.platform.worker.kill()


def restart(drill: Drill) -> None:
    drill.own.platform.start()


def kill_gateway(drill: Drill) -> None:
    drill.gateway.kill()


def tamper(drill: Drill) -> None:
    """Change the first byte of the first delivery, as a superuser with disabled triggers."""
    statement = "UPDATE alerts_audit_delivery SET body = set_byte(body, 0, 32) WHERE id = 1"
    drill.execute("SET session_replication_role = replica", statement)


def count_one_too_many(drill: Drill) -> None:
    """Increment a total of the rows, as soon as the worker has stored the first totals."""
    statement = "UPDATE payments_kpirollup SET count = count + 1 WHERE kind = 'succeeded' RETURNING 1"
    wait_until(lambda: drill.own.query(statement), 45, "there are totals", interval=0.5)


def post_half(drill: Drill) -> None:
    """Add a fee without its counterpart, as a superuser with disabled triggers. It is not revenue."""
    columns = "event_id, transaction_id, currency"
    leg = f"INSERT INTO payments_ledgerleg ({columns}, account, amount) SELECT {columns}, 'fees', 1"
    drill.execute("SET session_replication_role = replica", f"{leg} FROM payments_ledgerleg LIMIT 1")


def post_garbage(drill: Drill) -> None:
    headers = {"Authorization": f"Bearer {os.environ['ALERT_TOKEN']}"}
    assert request(drill.own.platform.port, "POST", "/alert", b"not JSON", headers=headers).status == 200


def nothing(drill: Drill) -> None:
    """Do nothing: the fault cannot be reverted."""


FAULTS = [
    Fault("gateway errors", "PaymentErrorRatioHigh", profile(error_ratio=0.3), profile(error_ratio=0)),
    Fault("gateway unavailable", "PaymentErrorRatioHigh", profile(unavailable_ratio=0.5), profile(unavailable_ratio=0)),
    Fault("lost replies", "GatewayTimeoutRatioHigh", profile(lose_reply_ratio=0.3), profile(lose_reply_ratio=0), 12),
    Fault("timeouts", "PaymentErrorRatioHigh", profile(timeout_ratio=0.3), profile(timeout_ratio=0), 14),
    Fault("slow gateway", "PaymentLatencyHigh", profile(latency_ms=1250), profile(latency_ms=0), 18),
    Fault("declines", "DeclineRatioHigh", profile(decline_ratio=0.5), profile(decline_ratio=0), 12),
    Fault(
        "fraud",
        "FraudRatioHigh",
        lambda drill: drill.traffic.changes.update(payment_method={"type": "card", "token": "tok_fraud"}),
        lambda drill: drill.traffic.changes.clear(),
        12,
    ),
    Fault("unauthorized webhook request", "WebhookUnauthorized", post_without_token, nothing),
    Fault("the worker is killed", "TargetDown", stop_worker, restart),
    Fault("the exporter is killed", "TargetDown", lambda drill: drill.own.platform.metrics.kill(), restart),
    Fault("a web process is killed", None, lambda drill: drill.own.platform.kill_one_worker(), nothing),
    Fault("the web is killed", "ServiceDown", lambda drill: drill.own.platform.web.kill(), restart, 5, ("blackbox",)),
    Fault("the gateway is killed", "ServiceDown", kill_gateway, lambda drill: drill.gateway.start(), 8, ("blackbox",)),
    Fault(
        "the database is stopped",
        "DatabaseDown",
        lambda drill: drill.own.server.stop("immediate"),
        lambda drill: drill.own.server.start(),
        5,
        ("postgres", "blackbox"),
    ),
    Fault("counters differ from rows", "KpiDrift", count_one_too_many, nothing, resolves=False),
    Fault(
        "the gateway has unknown charges",
        "GatewayDrift",
        lambda drill: drill.gateway.post_charge("not-ours", 500),
        nothing,
        minutes=12,
        resolves=False,
    ),
    Fault("an unbalanced leg is added", "LedgerImbalance", post_half, nothing, resolves=False),
    Fault("tampered delivery", "AuditBroken", tamper, nothing, resolves=False),
    Fault("an exporter is killed", "ExporterDown", faults.kill_exporter, faults.start_exporter, 9, ("postgres",)),
    Fault("an exporter crashes in a loop", "ProcessRestarting", faults.crash_exporter, nothing, 2, ("postgres",)),
    Fault("an exporter stalls again and again", "TargetFlapping", faults.stall_exporter, nothing, 0, ("postgres",)),
    Fault(
        "a wrong configuration is reloaded", "ConfigReloadFailed", faults.break_configuration, faults.mend_configuration
    ),
    Fault(
        "connections are leaked",
        "DatabaseConnectionsHigh",
        faults.leak_connections,
        faults.close_connections,
        needs=("postgres",),
    ),
    Fault("a disk fills up", "DiskSpaceLow", faults.fill_disk(0.1), faults.clear_disk, 20, ("node",)),
    Fault("a disk is full", "DiskSpaceCritical", faults.fill_disk(0.01), faults.clear_disk, 20, ("node",)),
    Fault(
        "memory runs out",
        "MemoryLow",
        lambda drill: drill.machine.set_available_memory(0.03),
        lambda drill: drill.machine.set_available_memory(0.5),
        needs=("node",),
    ),
    Fault(
        "a certificate expires in a day",
        "CertificateExpiresNow",
        faults.serve_certificate(days=1),
        faults.end_probe,
        15,
        ("blackbox",),
    ),
    Fault(
        "a certificate expires in ten days",
        "CertificateExpiresSoon",
        faults.serve_certificate(days=10),
        faults.end_probe,
        65,
        ("blackbox",),
    ),
    Fault("unreadable delivery", "DeliveriesQuarantined", post_garbage, nothing, resolves=False),
]


@pytest.fixture(scope="module")
def scores() -> Iterator[list[Score]]:
    """Collect the scores of the passed faults, and write the scorecard if all of them passed."""
    scores: list[Score] = []
    yield scores
    if len(scores) == len(FAULTS):
        DOCUMENT.write_text(document(scores, speed=SPEED, scrape_seconds=SCRAPE_SECONDS * SPEED))


def score(fault: Fault, drill: Drill, *, began: float, ended: float) -> Score:
    def after(status: str, start: float) -> float | None:
        at = drill.received(status, since=began).get(fault.alert or "")
        return None if at is None else max(0.0, at - start) * SPEED

    return Score(fault.name, fault.alert, after("firing", began), after("resolved", ended))


def test_the_scorecard_holds_the_faults_that_are_made():
    assert faults_in(DOCUMENT.read_text()) == {fault.name: fault.alert for fault in FAULTS}


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
@pytest.mark.skipif(not IN_FULL, reason="a minute and a half each: `make prove`")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_brings_its_own_alert_and_no_other(tmp_path, scores, fault):
    with running_drill(tmp_path) as drill:
        if not set(fault.needs) <= drill.jobs:
            pytest.skip(f"needs the exporters {', '.join(fault.needs)}")
        drill.wait_until_calm()
        expected = {fault.alert} if fault.alert else set()
        began = time.time()

        fault.begin(drill)
        time.sleep(fault.minutes * MINUTE)
        fault.end(drill)
        ended = time.time()

        wait_until(lambda: drill.fired(since=began) >= expected, 30, f"{expected} arrives")
        if fault.resolves:
            # The longest case: a window of 5 minutes, and 7 minutes of keep_firing_for.
            wait_until(lambda: drill.resolved(since=began) >= expected, 20 * MINUTE, f"{expected} resolves")
            # A suppressed alert that outlived it would be sent now.
            wait_until(lambda: drill.firing() == {ALWAYS}, 20 * MINUTE, "only the heartbeat fires")
        assert drill.fired(since=began) == expected
        scores.append(score(fault, drill, began=began, ended=ended))
        print(scores[-1].row())
