"""The path of alerts, and the completeness and the seal of the alert trail."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.alert_trail.at_a_glance import AT_A_GLANCE
from observability.dashboards.alert_trail.completeness import COMPLETENESS
from observability.dashboards.alert_trail.deliveries import DELIVERIES
from observability.dashboards.alert_trail.firing import FIRING
from observability.dashboards.alert_trail.projection import PROJECTION
from observability.dashboards.alert_trail.seal import SEAL
from observability.dashboards.kit import dashboard


def alert_trail() -> Dashboard:
    return dashboard(
        "alert-trail",
        "Alerts and audit trail",
        "Firing alerts, the processing of every notification, and the completeness and the seal of the trail.",
        rows=[AT_A_GLANCE, FIRING, DELIVERIES, PROJECTION, SEAL, COMPLETENESS],
        period="now-6h",
    )
