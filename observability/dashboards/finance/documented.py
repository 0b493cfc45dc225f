from observability.dashboards.documented import AVERAGE_LATENCY, ERROR_RATIO, P95_LATENCY, REVENUE, TPS
from observability.dashboards.kit import PER_SECOND, query, row, stat

# Show the queries of the first version, which people have in their notes. They equal the recorded KPIs above.
DOCUMENTED = row(
    "The documented queries, verbatim",
    [
        stat("Transactions per second", "Over one minute.", query(TPS, "TPS"), unit=PER_SECOND, decimals=2),
        stat(
            "Error ratio",
            "Failed payments over all payments.",
            query(ERROR_RATIO, "errors"),
            unit="percentunit",
            decimals=2,
        ),
        stat("Average latency", "Per scraped process.", query(AVERAGE_LATENCY, "{{job}}"), unit="s"),
        stat("95th percentile of latency", "Over all processes.", query(P95_LATENCY, "p95"), unit="s"),
        stat("Revenue per minute (one currency)", "Correct only with a single currency.", query(REVENUE, "revenue")),
        stat(
            "Revenue by currency",
            "Use this query with several currencies.",
            query("sum by (currency) (rate(transaction_amount_sum[5m])) * 60", "{{currency}}"),
            money=True,
        ),
    ],
)
