from observability.dashboards.kit import PER_SECOND, above, graph, query, row

WEBHOOKS = row(
    "Webhooks to merchants",
    [
        graph(
            "Webhook attempts",
            "Attempts to deliver a webhook per second, by outcome.",
            query("sum by (outcome) (rate(webhook_attempts_total[$__rate_interval]))", "{{outcome}}"),
            unit=PER_SECOND,
            stacked=True,
        ),
        graph(
            "Failed webhook attempts",
            "Share of the attempts of 15 minutes that did not deliver.",
            query("kpi:webhook_failures:ratio_rate15m", "failed"),
            unit="percentunit",
            thresholds=above(0.2, 0.5),
        ),
        graph(
            "Waiting webhooks",
            "Deliveries that wait, also for endpoints that pause.",
            query("max(webhook_pending_deliveries)", "waiting"),
        ),
        graph(
            "Age of the oldest waiting webhook",
            "Age of the oldest webhook that should be under way and is not.",
            query("kpi:webhook_oldest_waiting_seconds:max", "oldest"),
            unit="s",
            thresholds=above(60, 300),
        ),
    ],
)
