from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class AlertsAuditConfig(AppConfig):
    name = "alerts_audit"
    verbose_name = "Alert trail"
    # Of each web process, beside the pool: four that store deliveries, and the projector's.
    web_connections = 5
    # The application's database role can add rows to these tables and read them, nothing else
    # (fintech/database/grants.py).
    evidence_models = (
        "delivery",
        "observation",
        "input",
        "review",
        "view",
        "gap",
        "leaf",
        "checkpoint",
        "archive",
        "verification",
    )
    # It can change these in part, and delete none.
    kept_models = ("source", "sourcetoken")

    def ready(self) -> None:
        from alerts_audit.groups import ensure_groups
        from alerts_audit.infinite_timestamps import register_clamping_loader
        from alerts_audit.sources.tokens import ensure_default_source

        connection_created.connect(register_clamping_loader)
        post_migrate.connect(ensure_groups, sender=self)
        post_migrate.connect(ensure_default_source, sender=self)

    def dashboard(self, request: Any) -> Any:
        """See fintech/adminsite/dashboard.py."""
        from alerts_audit.admin.dashboard import dashboard_section

        return dashboard_section(request)

    def worker_jobs(self, worker: Any) -> Any:
        """See fintech/jobs.py."""
        from alerts_audit.worker.jobs import jobs

        return jobs(worker)
