"""Payments in depth: each endpoint, the gateway, idempotency, and open payments."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import dashboard, instance
from observability.dashboards.payments.by_endpoint import BY_ENDPOINT
from observability.dashboards.payments.endpoints import ENDPOINTS
from observability.dashboards.payments.gateway import GATEWAY
from observability.dashboards.payments.idempotency import IDEMPOTENCY
from observability.dashboards.payments.traces import TRACES
from observability.dashboards.payments.unresolved import UNRESOLVED
from observability.dashboards.payments.webhooks import WEBHOOKS


def payments() -> Dashboard:
    return dashboard(
        "payments",
        "Payments in depth",
        "Rate, errors and duration of each endpoint; the gateway; idempotency; open payments.",
        variables=[instance("label_values(transactions_total, instance)")],
        rows=[ENDPOINTS, BY_ENDPOINT, GATEWAY, IDEMPOTENCY, UNRESOLVED, WEBHOOKS, TRACES],
    )
