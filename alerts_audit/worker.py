"""The alert trail's jobs in the worker."""

from django.conf import settings

from alerts_audit.seal.sealer import seal
from fintech.jobs import Job, Worker


def jobs(worker: Worker) -> list[Job]:
    return [
        Job("seal", settings.AUDIT_SEAL_SECONDS, seal, leader=True),
    ]
