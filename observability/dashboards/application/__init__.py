"""The processes of the application: gunicorn, Django, its database connections, the worker's jobs."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.application.at_a_glance import AT_A_GLANCE
from observability.dashboards.application.database import DATABASE
from observability.dashboards.application.django import DJANGO
from observability.dashboards.application.web import WEB
from observability.dashboards.application.worker import WORKER
from observability.dashboards.kit import dashboard, instance


def application() -> Dashboard:
    return dashboard(
        "application",
        "Application",
        "Web processes (gunicorn), Django, its database use, and the worker's jobs.",
        variables=[instance('label_values(up{job=~"web|worker"}, instance)')],
        rows=[AT_A_GLANCE, WEB, DJANGO, DATABASE, WORKER],
    )
