from observability.dashboards.kit import PER_SECOND, above, graph, query, rate, row

DELIVERIES = row(
    "Deliveries",
    [
        graph(
            "Requests to the webhook",
            "Requests per second by outcome. Only stored deliveries are answered with 200.",
            query(rate("alert_deliveries_total", by="source, outcome"), "{{outcome}} {{source}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Alerts in stored deliveries",
            "Alerts per second by status.",
            query(rate("alerts_received_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Notifications sent by Alertmanager",
            "Notifications per second by integration. Compare the webhook with the stored deliveries.",
            query(
                'sum by (integration) (rate(alertmanager_notifications_total{integration=~"webhook|telegram"}'
                "[$__rate_interval]))",
                "{{integration}}",
            ),
            unit=PER_SECOND,
        ),
        graph(
            "Failed notifications",
            "Failed attempts per second. Alertmanager retries for a limited time.",
            query(
                "sum by (integration) (rate(alertmanager_notifications_failed_total"
                '{integration=~"webhook|telegram"}[5m]))',
                "{{integration}}",
            ),
            unit=PER_SECOND,
            thresholds=above(0.001),
        ),
    ],
)
