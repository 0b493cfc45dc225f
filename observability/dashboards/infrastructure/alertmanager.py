from observability.dashboards.kit import PER_MINUTE, above, below, graph, query, row, stat, words

ALERTMANAGER = row(
    "Alertmanager",
    [
        graph(
            "Alerts by state",
            "Active alerts are notified. Suppressed alerts are silenced or inhibited.",
            query("sum by (state) (alertmanager_alerts)", "{{state}}"),
            stacked=True,
        ),
        graph(
            "Notifications",
            "Notifications sent per minute by integration.",
            query(
                "sum by (integration) (rate(alertmanager_notifications_total"
                '{integration=~"webhook|telegram"}[5m])) * 60',
                "{{integration}}",
            ),
            unit=PER_MINUTE,
        ),
        graph(
            "Duration of notifications",
            "95th percentile.",
            query(
                "histogram_quantile(0.95, sum by (le, integration)"
                ' (rate(alertmanager_notification_latency_seconds_bucket{integration=~"webhook|telegram"}[5m])))',
                "{{integration}}",
            ),
            unit="s",
            thresholds=above(5, 15),
        ),
        stat(
            "Configuration loaded",
            "Prometheus and Alertmanager accepted their last configuration.",
            query("min(prometheus_config_last_reload_successful)", "Prometheus"),
            query("min(alertmanager_config_last_reload_successful)", "Alertmanager"),
            thresholds=below(1, 0.5),
            mappings=words(_1=("yes", "green"), _0=("no", "red")),
        ),
    ],
)
