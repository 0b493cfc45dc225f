from observability.dashboards.kit import PER_SECOND, above, graph, heat, query, rate, row

GATEWAY_AND_FRAUD = row(
    "Bank and fraud",
    [
        graph(
            "Gateway calls by outcome",
            "Calls per second. Error, timeout and unavailable are faults of the gateway or the path to it.",
            query(rate("gateway_requests_total", by="outcome"), "{{outcome}}"),
            unit=PER_SECOND,
            stacked=True,
        ),
        graph(
            "Fraud and declines",
            "Shares of the payments of five minutes. Alerts: a quarter declined, a tenth scored above 0.7.",
            query("kpi:transaction_blocks:ratio_rate5m", "blocked"),
            query("kpi:fraud_high:ratio_rate5m", "score above 0.7"),
            query("kpi:transaction_declines:ratio_rate5m", "declined by the bank"),
            unit="percentunit",
            thresholds=above(0.1, 0.2),
        ),
        heat(
            "Fraud scores",
            "From 0 (harmless) to 1. Each merchant sets the threshold from which payments are blocked.",
            query(rate("fraud_score_bucket", by="le"), "{{le}}"),
        ),
    ],
)
