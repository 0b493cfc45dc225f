from django.apps import AppConfig


class AlertsAuditConfig(AppConfig):
    name = "alerts_audit"
    verbose_name = "Alert trail"
    # The application's database role may add to these and read them, nothing else (fintech/grants.py).
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
    # It may change these in part; nobody deletes one.
    kept_models = ("source", "sourcetoken")
