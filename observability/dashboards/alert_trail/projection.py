from observability.dashboards.kit import PER_MINUTE, above, graph, query, row

PROJECTION = row(
    "Projection",
    [
        graph(
            "Lag",
            "Age of the oldest delivery that is not projected yet.",
            query("max(alert_projection_lag_seconds)", "lag"),
            unit="s",
            thresholds=above(30, 300),
        ),
        graph(
            "Waiting inputs",
            "Stored deliveries and observations that are not projected yet.",
            query("max(alert_projection_pending)", "waiting"),
            thresholds=above(100, 1000),
        ),
        graph(
            "Quarantined deliveries",
            "Stored deliveries that are not valid Alertmanager notifications; the admin shows them.",
            query("max(alert_quarantined_deliveries)", "quarantined"),
            thresholds=above(1),
        ),
        graph(
            "Transitions per minute",
            "State changes of episodes.",
            query("sum by (state) (rate(alert_transitions_total[5m])) * 60", "{{state}}"),
            unit=PER_MINUTE,
        ),
    ],
)
