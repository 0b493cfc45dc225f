"""The machine, the containers, PostgreSQL, and the monitoring itself."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.infrastructure.alertmanager import ALERTMANAGER
from observability.dashboards.infrastructure.connections import CONNECTIONS
from observability.dashboards.infrastructure.containers import CONTAINERS
from observability.dashboards.infrastructure.disks import DISKS
from observability.dashboards.infrastructure.machine import MACHINE
from observability.dashboards.infrastructure.postgres import POSTGRES
from observability.dashboards.infrastructure.prometheus import PROMETHEUS
from observability.dashboards.infrastructure.targets import TARGETS
from observability.dashboards.kit import dashboard, instance


def infrastructure() -> Dashboard:
    return dashboard(
        "infrastructure",
        "Infrastructure",
        "The machine, the containers, PostgreSQL, probes from outside, and Prometheus and Alertmanager themselves.",
        variables=[instance("label_values(node_uname_info, instance)", "Machine")],
        rows=[TARGETS, MACHINE, DISKS, CONTAINERS, POSTGRES, CONNECTIONS, PROMETHEUS, ALERTMANAGER],
    )
