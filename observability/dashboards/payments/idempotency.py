from observability.dashboards.kit import PER_SECOND, above, graph, percentile, query, rate, row
from observability.dashboards.payments.shared import WEB

IDEMPOTENCY = row(
    "Idempotency and refunds",
    [
        graph(
            "Requests by idempotency result",
            "New: first use. Replayed: the stored answer. In flight: the first request is in progress. Mismatch: a"
            " different body. Recovered: completed for a process that died.",
            query(rate("idempotency_requests_total", WEB, by="result"), "{{result}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Refunds",
            "Refunds per second that became final.",
            query(rate("refunds_total", WEB, by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Fraud scores",
            "Mean over all processes, median, and 95th percentile.",
            query("kpi:fraud_score:mean5m", "mean"),
            *(
                query(percentile(quantile, "fraud_score", WEB), name)
                for quantile, name in ((0.5, "median"), (0.95, "95 %"))
            ),
        ),
        graph(
            "Unscored payments",
            "Payments per second. Below the merchant's limit they pass, above it they are blocked.",
            query(rate("fraud_unscored_total", WEB), "unscored"),
            unit=PER_SECOND,
            thresholds=above(0.01, 1),
        ),
    ],
)
