"""Every fault of the drills, in the order in which they run: those that share conditions follow each other.

On the command line a name has hyphens instead of spaces: `gateway-errors` is "gateway errors".
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from loadtests.drill.injectors import database, machine, monitoring, payments, trail
from loadtests.drill.injectors.conditions import (
    A_DAY_BEFORE,
    BURNT_YESTERDAY,
    HOURS,
    LOW_LIMIT,
    RARE_SCRAPES,
    SHORT_HOLDS,
    SLOW_BATCHES,
    SMALL_WEB,
    WATCHED,
    WEBHOOKS,
)
from loadtests.drill.injectors.payments import change, change_nothing, gateway_fault, profile
from loadtests.drill.lab import SPEED, USUAL, Conditions, Drill, post_without_token

REAL, EXPORTED, BACK_FILLED = "real", "through an exporter", "real, after back-filled days"


@dataclass(frozen=True)
class Fault:
    """A fault from `begin` to `end`. Only `alert` may arrive, or no alert if it is None.

    The fault lasts for `minutes` of the rules' time, so that other alerts would have the time to fire. `needs` are
    exporters. `resolves`: the alert ends with the fault. `spoils`: later faults need another platform, because this one
    remembers the failures. `trail_verifies` also after the fault. `over_http`: a running platform can suffer it,
    because HTTP makes and undoes it.

    Within the bound of its rule, the fault reaches the threshold after `ramp_minutes`; the rule's whole window is the
    limit otherwise. `own_pace_seconds` is what the worker needs until it measures the fault, which is not accelerated.
    """

    name: str
    alert: str | None
    begin: Callable[[Drill], object]
    end: Callable[[Drill], object]
    minutes: float = 8
    needs: tuple[str, ...] = ()
    resolves: bool = True
    spoils: bool = True
    made: str = REAL
    conditions: Conditions = USUAL
    trail_verifies: bool = True
    over_http: bool = False
    ramp_minutes: float | None = None
    own_pace_seconds: float = 0
    resolves_within_minutes: float = 60

    @property
    def keeps_its_speed(self) -> bool:
        """Return True if its conditions are made for one speed: back-filled days, or another speed than the usual."""
        return self.conditions.history is not None or self.conditions.speed != SPEED

    def at_speed(self, speed: float) -> "Fault":
        return replace(self, conditions=replace(self.conditions, speed=speed))


# A fault after which the next one can run on the same platform.
Harmless = partial(Fault, spoils=False)


def nothing(drill: Drill) -> None:
    """Do nothing: the fault cannot be reverted."""


FAULTS = [
    Fault("gateway errors", "PaymentErrorRatioHigh", *gateway_fault(error_ratio=0.3), over_http=True),
    Fault("gateway unavailable", "PaymentErrorRatioHigh", *gateway_fault(unavailable_ratio=0.5), over_http=True),
    Fault("lost replies", "GatewayTimeoutRatioHigh", *gateway_fault(lose_reply_ratio=0.3), 12, over_http=True),
    Fault("timeouts", "PaymentErrorRatioHigh", *gateway_fault(timeout_ratio=0.3), 14, over_http=True),
    Fault("slow gateway", "PaymentLatencyHigh", *gateway_fault(latency_ms=1250), 18, over_http=True),
    Fault("declines", "DeclineRatioHigh", *gateway_fault(decline_ratio=0.5), 12, over_http=True),
    Fault("fraud", "FraudRatioHigh", change(payment_method={"type": "card", "token": "tok_fraud"}), change_nothing, 12),
    Fault("unauthorized webhook request", "WebhookUnauthorized", post_without_token, nothing, over_http=True),
    Fault("the worker is killed", "TargetDown", payments.stop_worker, payments.restart),
    Fault("the exporter is killed", "TargetDown", lambda drill: drill.own.platform.metrics.kill(), payments.restart),
    Fault("a web process is killed", None, lambda drill: drill.own.platform.kill_one_worker(), nothing),
    Fault(
        "the web is killed",
        "ServiceDown",
        lambda drill: drill.own.platform.web.kill(),
        payments.restart,
        5,
        ("blackbox",),
    ),
    Fault(
        "the gateway is killed",
        "ServiceDown",
        payments.kill_gateway,
        lambda drill: drill.gateway.start(),
        8,
        ("blackbox",),
    ),
    Fault(
        "the database is stopped",
        "DatabaseDown",
        lambda drill: drill.own.server.stop("immediate"),
        lambda drill: drill.own.server.start(),
        5,
        ("postgres", "blackbox"),
    ),
    Fault(
        "counters differ from rows",
        "KpiDrift",
        database.count_one_too_many,
        nothing,
        resolves=False,
        own_pace_seconds=50,
    ),
    Fault(
        "the gateway has unknown charges",
        "GatewayDrift",
        lambda drill: drill.gateway.post_charge("not-ours", 500),
        nothing,
        minutes=12,
        resolves=False,
        own_pace_seconds=10,
    ),
    Fault(
        "an unbalanced leg is added", "LedgerImbalance", database.post_half, nothing, resolves=False, own_pace_seconds=5
    ),
    Fault(
        "tampered delivery",
        "AuditBroken",
        trail.tamper,
        nothing,
        resolves=False,
        ramp_minutes=0,
        own_pace_seconds=6,
        trail_verifies=False,
    ),
    Fault(
        "an exporter is killed", "ExporterDown", monitoring.kill_exporter, monitoring.start_exporter, 9, ("postgres",)
    ),
    Fault("an exporter crashes in a loop", "ProcessRestarting", monitoring.crash_exporter, nothing, 2, ("postgres",)),
    Fault("an exporter stalls again and again", "TargetFlapping", monitoring.stall_exporter, nothing, 0, ("postgres",)),
    Fault(
        "a wrong configuration is reloaded", "ConfigReloadFailed", trail.break_configuration, trail.mend_configuration
    ),
    Fault(
        "connections are leaked",
        "DatabaseConnectionsHigh",
        database.leak_connections,
        database.release,
        needs=("postgres",),
    ),
    Fault("a disk fills up", "DiskSpaceLow", machine.fill_disk(0.1), machine.clear_disk, 20, ("node",), ramp_minutes=1),
    Fault(
        "a disk is full",
        "DiskSpaceCritical",
        machine.fill_disk(0.01),
        machine.clear_disk,
        20,
        ("node",),
        ramp_minutes=1,
    ),
    Fault(
        "memory runs out",
        "MemoryLow",
        lambda drill: drill.machine.set_available_memory(0.03),
        lambda drill: drill.machine.set_available_memory(0.5),
        needs=("node",),
        made=EXPORTED,
    ),
    Fault(
        "a certificate expires in a day",
        "CertificateExpiresNow",
        monitoring.serve_certificate(days=1),
        monitoring.end_probe,
        15,
        ("blackbox",),
    ),
    Fault(
        "a certificate expires in ten days",
        "CertificateExpiresSoon",
        monitoring.serve_certificate(days=10),
        monitoring.end_probe,
        65,
        ("blackbox",),
    ),
    Fault("unreadable delivery", "DeliveriesQuarantined", trail.post_garbage, nothing, resolves=False, ramp_minutes=1),
    Fault(
        "Prometheus stops and starts again",
        "Watchdog",
        monitoring.stop_prometheus,
        monitoring.start_prometheus,
        6,
        resolves=False,
        ramp_minutes=6,  # the heartbeat returns with it
    ),
    # --- Several faults on one platform ---
    Harmless(
        "the worker cannot add up the journal",
        "WorkerJobFailing",
        database.execute("REVOKE INSERT, UPDATE ON payments_kpirollup FROM app"),
        database.execute("GRANT INSERT, UPDATE ON payments_kpirollup TO app"),
        14,
        own_pace_seconds=15,
    ),
    Harmless(
        "a merchant's fraud weights are invalid",
        "FraudScoringFailing",
        database.execute("UPDATE payments_merchant SET fraud_weights = '{\"no_such_rule\": 1}'"),
        database.execute("UPDATE payments_merchant SET fraud_weights = '{}'"),
    ),
    Harmless(
        "a session holds the sealer's lock",
        "AuditSealStale",
        database.lock(database.SEALER),
        database.release,
        18,  # long enough for WorkerJobFailing, which it inhibits
    ),
    Harmless(
        "a session holds the projector's lock", "AlertProjectionLagging", database.block_projection, database.release
    ),
    Harmless(
        "the heartbeat is silenced",
        "HeartbeatMissing",
        trail.silence_heartbeat,
        trail.end_silence,
        20,
        ramp_minutes=15,  # the limit of a source
    ),
    Harmless(
        "a monitoring service answers 503",
        "ProbeFailing",
        monitoring.break_service,
        monitoring.repair,
        needs=("blackbox",),
    ),
    Harmless(
        "the node exporter sees no file system",
        "MetricMissing",
        lambda drill: drill.machine.hide_file_systems(),
        lambda drill: drill.machine.set_file_system("/", "tmpfs"),
        needs=("node",),
    ),
    Harmless(
        "a container reaches its memory limit",
        "ContainerMemoryHigh",
        lambda drill: drill.machine.set_container_memory(0.95),
        lambda drill: drill.machine.set_container_memory(0.5),
        12,
        ("node",),
        made=EXPORTED,
    ),
    Harmless("a rule cannot be evaluated", "RuleFailing", monitoring.fail_a_rule, monitoring.correct_the_rule, 5),
    Harmless("an Alertmanager refuses alerts", "AlertsDropped", monitoring.refuse_alerts, monitoring.repair, 5),
    Harmless(
        "a Prometheus reaches its storage limit",
        "PrometheusStorageFull",
        monitoring.limit_storage,
        monitoring.raise_limit,
        20,
    ),
    Harmless(
        "a web on another host is not compared", "KpiUncompared", payments.start_second_host, payments.end_more, 10
    ),
    Harmless(
        "the gateway answers no questions",
        "UnresolvedTransactionOld",
        payments.lose_an_outcome,
        profile(cancel_fails=False),
        9,
    ),
    Fault(
        "merchants send large batches",
        "UnresolvedTransactionsMany",
        payments.send_batches,
        payments.end_slow_crowd,
        9,
        conditions=SLOW_BATCHES,
        ramp_minutes=0,  # the rate of payments is not high before, and all batches come at once
    ),
    Fault(
        "the web may not store deliveries",
        "NotificationsFailing",
        trail.refuse_deliveries,
        database.execute("GRANT INSERT ON alerts_audit_delivery TO app"),
        9,
        own_pace_seconds=10,  # Alertmanager tries for so long, however short its intervals are
    ),
    # --- Faults with conditions of their own ---
    Fault(
        "webhooks reach no merchant",
        "WebhookFailureRatioHigh",
        payments.register_dead_endpoints,
        payments.disable_endpoints,
        12,  # endpoints that are down pause, and the alert then ends before the fault
        conditions=WEBHOOKS,
    ),
    Fault(
        "the worker may not store webhook attempts",
        "WebhookBacklog",
        payments.refuse_attempts,
        payments.disable_endpoints,
        12,
        conditions=WEBHOOKS,
    ),
    Fault(
        "a dispute needs a response",
        "DisputeEvidenceDue",
        payments.dispute_one,
        payments.lose_disputes,
        12,
        ramp_minutes=0,  # less than two days are left at once
    ),
    Fault(
        "many payments are disputed",
        "DisputeRatioHigh",
        payments.dispute_many,
        nothing,
        12,
        resolves=False,
        ramp_minutes=0,  # all of them at once
    ),
    Fault(
        "a payment in review is forgotten",
        "ReviewExpiresSoon",
        payments.hold_one_for_review,
        payments.refuse_reviews,
        12,
        conditions=SHORT_HOLDS,
        ramp_minutes=0,  # less than a day is left at once
    ),
    Fault(
        "the worker may not change disputes",
        "GatewayEventsNotApplied",
        payments.refuse_decisions,
        database.execute("GRANT UPDATE ON payments_dispute TO app"),
        12,
    ),
    Fault(
        "the database refuses a quarter of the payments",
        "RequestErrorRatioHigh",
        database.refuse_dollars,
        database.accept_dollars,
    ),
    Fault(
        "the gateway is unavailable now and then", "GatewayErrorRatioHigh", *gateway_fault(unavailable_ratio=0.12), 12
    ),
    Fault(
        "merchants stop paying", "PaymentsStopped", payments.pause(payments.NEVER), payments.pause(0.2), ramp_minutes=2
    ),
    Fault("a few payments fail", "ErrorBudgetBurnFast", *gateway_fault(error_ratio=0.025), 20, ramp_minutes=30),
    Fault(
        "merchants crowd a slow gateway",
        "PaymentsSaturated",
        payments.crowd,
        payments.end_slow_crowd,
        12,
        conditions=SMALL_WEB,
    ),
    Fault(
        "an integration sends in a loop",
        "RequestsThrottled",
        payments.send_too_much,
        payments.end_more,
        12,
        conditions=LOW_LIMIT,
    ),
    Fault(
        "a route swallows an alert", "AlertGapOpen", trail.swallow_an_alert, trail.deliver_again, 16, conditions=WATCHED
    ),
    Harmless(
        "merchants pay less often than a day before",
        "TransactionRateDrop",
        payments.pause(1.2),
        payments.pause(0.2),
        18,
        made=BACK_FILLED,
        conditions=A_DAY_BEFORE,
        ramp_minutes=5,
    ),
    Fault(
        "merchants charge less than a day before",
        "RevenueDrop",
        change(amount=100),
        change_nothing,
        23,
        made=BACK_FILLED,
        conditions=A_DAY_BEFORE,
        ramp_minutes=5,
    ),
    Fault(
        "a few payments fail after a bad day",
        "ErrorBudgetBurnSlow",
        *gateway_fault(error_ratio=0.016),
        40,
        made=BACK_FILLED,
        conditions=BURNT_YESTERDAY,
        ramp_minutes=40,
        resolves_within_minutes=130,
    ),
    Fault(
        "the worker answers scrapes slowly",
        "ScrapeSlow",
        monitoring.slow_scrapes,
        monitoring.scrape_directly,
        18,
        conditions=RARE_SCRAPES,
    ),
    Harmless(
        "a session holds the verifier's lock",
        "AuditUnverified",
        database.lock(database.VERIFIER),
        database.release,
        220,
        conditions=HOURS,
    ),
    Harmless(
        "a Prometheus has no inodes left",
        "PrometheusStorageFailing",
        monitoring.fill_storage,
        monitoring.clear_storage,
        60,
        conditions=HOURS,
        own_pace_seconds=60,
        resolves_within_minutes=200,
    ),
]
