"""The alert trail's jobs in the worker."""

from fintech.jobs import Job, Worker


def jobs(worker: Worker) -> list[Job]:
    return []
