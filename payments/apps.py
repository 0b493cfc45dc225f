from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PaymentsConfig(AppConfig):
    name = "payments"
    # Of each web process, beside the pool: the writer's.
    web_connections = 1
    # The application can add rows to these tables and read them, never change them: see fintech/database/grants.py.
    evidence_models = (
        "event",
        "fraudchange",
        "gatewayroutechange",
        "ledgerleg",
        "writer",
        "idempotencykey",
        "review",
        "webhookevent",
        "webhookattempt",
    )
    # The application can change rows of these tables in part, and delete none.
    kept_models = (
        "merchant",
        "apikey",
        "transaction",
        "authentication",
        "refund",
        "capture",
        "void",
        "dispute",
        "disputeresponse",
        "gatewayevent",
        "webhookendpoint",
        "webhooksecret",
        "webhookdelivery",
        "webhookwatermark",
    )

    # Only the owner of the schema writes these tables, when it archives.
    owners_models = ("archive", "archivedpart", "archivedtotal")

    def ready(self) -> None:
        from payments import checks  # noqa: F401 - registers them
        from payments.groups import ensure_groups

        post_migrate.connect(ensure_groups, sender=self)

    def dashboard(self, request: Any) -> Any:
        """See fintech/adminsite/dashboard.py."""
        from payments.admin.dashboard import dashboard_section

        return dashboard_section(request)

    def start_web(self) -> None:
        """See fintech/wsgi.py."""
        from payments.storage import counter_recovery

        counter_recovery.start()

    def worker_jobs(self, worker: Any) -> Any:
        """See fintech/jobs.py."""
        from payments.worker.jobs import jobs

        return jobs(worker)
