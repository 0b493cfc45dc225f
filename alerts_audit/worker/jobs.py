"""The alert trail's jobs in the worker."""

from django.conf import settings
from prometheus_client import REGISTRY

from alerts_audit.completeness import telegram
from alerts_audit.completeness.compare import Comparison
from alerts_audit.completeness.delivery_failures import FailedNotifications, count_refused
from alerts_audit.completeness.heartbeat import Heartbeats
from alerts_audit.projection import project_pending, tick
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.verify.job import verify_regularly
from alerts_audit.sources import metrics
from alerts_audit.worker.metrics import TrailCollector
from fintech.jobs import Job, Worker


def jobs(worker: Worker) -> list[Job]:
    for counter in (metrics.DELIVERIES, metrics.ALERTS):
        REGISTRY.unregister(counter)  # metrics of the web only: here they would be a second, empty series
    comparison, heartbeats = Comparison(), Heartbeats()
    trail = TrailCollector(worker.leader, heartbeats)
    REGISTRY.register(trail)
    worker.leader.before_leading += [comparison.forget, heartbeats.forget, trail.forget]
    poll = settings.ALERT_POLL_SECONDS
    notices = [Job("notices", 5, telegram.send_notices, leader=True)] if telegram.is_configured() else []
    return [
        *notices,
        Job("compare", poll, comparison.turn, leader=True),
        Job("notifications", poll, FailedNotifications().turn, leader=True),
        Job("refusals", poll, count_refused, leader=True),
        Job("heartbeat", min(5, poll), heartbeats.turn, leader=True),
        Job("trail", 2, trail.refresh, leader=True),
        Job("project", 1, project_pending),
        Job("tick", 10, tick, leader=True),
        Job("seal", settings.AUDIT_SEAL_SECONDS, seal, leader=True),
        Job("verify", settings.AUDIT_VERIFY_SECONDS, verify_regularly, leader=True),
    ]
