from observability.dashboards.kit import PER_SECOND, above, graph, query, rate, row

PAYMENTS = row(
    "Payments",
    [
        graph(
            "Payments per second by outcome",
            "Declined: by the bank. Blocked: by fraud scoring. Failed: technical fault. Each payment counts once.",
            query(rate("transactions_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
            stacked=True,
        ),
        graph(
            "Payments per second compared with usual",
            "Usual: the same half hour yesterday, or a week ago if that is lower. Below half of it an alert fires.",
            query("kpi:transactions:rate5m", "now"),
            query("kpi:transactions:rate5m_before", "usual"),
            unit=PER_SECOND,
        ),
    ],
    [
        graph(
            "Failed payments",
            "Share of payments that failed for a technical reason. The alert fires above 5 %.",
            query("kpi:transaction_failures:ratio_rate5m", "failed"),
            unit="percentunit",
            thresholds=above(0.01, 0.05),
            axis=0.05,
        ),
        graph(
            "Payments in progress",
            "Payments that are being processed at this moment, over all web processes.",
            query("kpi:transactions_in_progress:sum", "in progress"),
        ),
    ],
)
