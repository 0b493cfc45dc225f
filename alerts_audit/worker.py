"""The alert trail's jobs in the worker."""

from django.conf import settings

from alerts_audit.projection import project_pending, tick
from alerts_audit.seal.sealer import seal
from fintech.jobs import Job, Worker


def jobs(worker: Worker) -> list[Job]:
    return [
        Job("project", 1, project_pending),
        Job("tick", 10, tick, leader=True),
        Job("seal", settings.AUDIT_SEAL_SECONDS, seal, leader=True),
    ]
