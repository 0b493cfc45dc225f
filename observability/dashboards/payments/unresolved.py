from observability.dashboards.kit import PER_SECOND, above, graph, mean, query, rate, ratio, row
from observability.dashboards.payments.shared import WEB

UNRESOLVED = row(
    "Open payments",
    [
        graph(
            "Unknown outcomes",
            "Payments per second whose answer from the gateway was lost or late. The worker asks the gateway.",
            query(rate("unknown_outcomes_total", WEB), "unknown"),
            unit=PER_SECOND,
        ),
        graph(
            "Open payments and refunds",
            "Payments and refunds that are not final, including those in progress.",
            query("kpi:unresolved_transactions:max", "waiting"),
            thresholds=above(20, 100),
        ),
        graph(
            "Age of the oldest",
            "Age of the oldest payment or refund that is not final.",
            query("kpi:unresolved_oldest_seconds:max", "oldest"),
            unit="s",
            thresholds=above(60, 300),
        ),
        graph(
            "Own time and gateway time",
            "Mean time from receipt to response, split into our own time and the gateway's.",
            query(mean("transaction_own_seconds", WEB), "own"),
            query(
                ratio(
                    f"(sum(rate(transaction_latency_seconds_sum{{{WEB}}}[5m]))"
                    f" - sum(rate(transaction_own_seconds_sum{{{WEB}}}[5m])))",
                    rate("transaction_latency_seconds_count", WEB, window="5m"),
                ),
                "gateway",
            ),
            unit="s",
            stacked=True,
        ),
    ],
)
