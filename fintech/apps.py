import gc
from typing import Any

from django.apps import AppConfig


class FintechConfig(AppConfig):
    name = "fintech"

    def ready(self) -> None:
        """Enable garbage collection, which programs disable until Django is loaded: it was a third of their start.

        What is loaded stays as long as the process, so it is never looked at.
        """
        from fintech import checks  # noqa: F401 - registers them

        gc.freeze()
        gc.enable()

    def start_web(self) -> None:
        """See fintech/wsgi.py."""
        from fintech.database.capacity import report_connections

        report_connections()

    def worker_jobs(self, worker: Any) -> Any:
        """See fintech/jobs.py."""
        from fintech.database.replica_lag import jobs

        return jobs(worker)
