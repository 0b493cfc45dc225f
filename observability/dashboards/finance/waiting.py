from observability.dashboards.kit import above, graph, heat, query, rate, row

WAITING = row(
    "Waiting times",
    [
        graph(
            "Response time",
            "From receipt to response, including the bank's time.",
            query("kpi:transaction_latency_seconds:mean5m", "mean"),
            query("kpi:transaction_latency_seconds:p95_5m", "95th percentile"),
            unit="s",
            thresholds=above(0.5, 1),
        ),
        graph(
            "Our own time",
            "The same without the bank's time. The objective is 300 ms for 95 % of the payments.",
            query("kpi:transaction_own_seconds:mean5m", "mean"),
            query("kpi:transaction_own_seconds:p95_5m", "95th percentile"),
            unit="s",
            thresholds=above(0.3),
        ),
        heat(
            "Distribution of response times",
            "Each column is a point in time, each cell a range of durations. A brighter cell has more payments.",
            query(rate("transaction_latency_seconds_bucket", by="le"), "{{le}}"),
            unit="s",
        ),
    ],
)
