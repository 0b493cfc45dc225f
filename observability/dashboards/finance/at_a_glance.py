from observability.dashboards.kit import PER_SECOND, above, below, query, row, stat, words

REVENUE_PANELS = [
    stat(
        "Revenue per minute, now",
        "Amounts of succeeded payments in major units of each currency, averaged over five minutes.",
        query('kpi:revenue:per_minute5m{currency=~"$currency"}', "{{currency}}"),
        money=True,
    ),
    stat(
        "Revenue in the selected time range",
        "Amounts of succeeded payments in the selected time range.",
        query('sum by (currency) (increase(transaction_amount_sum{currency=~"$currency"}[$__range]))', "{{currency}}"),
        money=True,
    ),
]

AT_A_GLANCE = row(
    "At a glance",
    [
        stat(
            "Payments now",
            "Payments per second that got a final outcome.",
            query("kpi:transactions:rate1m", "payments"),
            unit=PER_SECOND,
            decimals=1,
        ),
        stat(
            "Payments that succeed",
            "Share of the payments of the past five minutes. Banks decline some: 85 to 95 % is usual.",
            query("kpi:transaction_successes:ratio_rate5m", "succeeded"),
            unit="percentunit",
            thresholds=below(0.8, 0.6),
            decimals=1,
        ),
        stat(
            "Payments that fail",
            "Share of the payments of the past five minutes with a technical fault. Declines are not included.",
            query("kpi:transaction_failures:ratio_rate5m", "failed"),
            unit="percentunit",
            thresholds=above(0.01, 0.05),
            decimals=2,
        ),
        stat(
            "Waiting time",
            "19 of 20 payments are answered faster than this, including the bank's time.",
            query("kpi:transaction_latency_seconds:p95_5m", "95 % faster than"),
            unit="s",
            thresholds=above(0.5, 1),
        ),
        stat(
            "Unknown outcomes",
            "Payments whose outcome is not known yet. Each is resolved within seconds; none is charged twice.",
            query("kpi:unresolved_transactions:max", "being resolved"),
            thresholds=above(20, 100),
            decimals=0,
        ),
        stat(
            "Do the books agree?",
            "Compares this page with the ledger, the ledger with the bank, and debits with credits. Any difference"
            " is an error.",
            query(
                "max(abs(kpi_drift)) + max(abs(operation_drift)) + max(abs(gateway_drift))"
                " + max(abs(ledger_imbalance))",
                "difference",
            ),
            thresholds=above(1e-9),
            mappings=words(_0=("Yes", "green")),
            only_now=True,
        ),
    ],
    REVENUE_PANELS,
)
