from observability.dashboards.kit import PER_SECOND, graph, listing, query, rate, row

FIRING = row(
    "Firing alerts",
    [
        listing(
            "Alerts firing and pending",
            "The state in Prometheus now. A pending alert is about to fire. Runbooks: observability/runbooks/.",
            query('sum by (alertname, severity, instance, alertstate) (ALERTS{alertname!="Watchdog"})', "alerts"),
            decimals=0,
            empty="None",
        ),
        graph(
            "Alerts by severity",
            "Firing alerts over time, including the heartbeat, whose severity is none.",
            query('count by (severity) (ALERTS{alertstate="firing"})', "{{severity}}"),
            stacked=True,
        ),
    ],
    [
        graph(
            "Open episodes by severity",
            "Firing alerts according to the trail.",
            query("sum by (severity) (alert_episodes_open)", "{{severity}}"),
            stacked=True,
        ),
        graph(
            "Alerts sent to Alertmanager",
            "Alerts per second that Prometheus sent and dropped.",
            query(rate("prometheus_notifications_sent_total"), "sent"),
            query(rate("prometheus_notifications_dropped_total"), "dropped"),
            unit=PER_SECOND,
        ),
    ],
)
