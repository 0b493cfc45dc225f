from observability.dashboards.kit import graph, query, row, stat

MONEY = row(
    "Money",
    [
        graph(
            "Revenue per minute",
            "Amounts of succeeded payments in major units of each currency, on a logarithmic axis. Refunds are not"
            " subtracted.",
            query('kpi:revenue:per_minute5m{currency=~"$currency"}', "{{currency}}"),
            money=True,
        ),
        graph(
            "Average payment",
            "Average amount of a succeeded payment over five minutes.",
            query(
                'kpi:revenue:per_minute5m{currency=~"$currency"} / 60 / (kpi:sales:rate5m{currency=~"$currency"} > 0)',
                "{{currency}}",
            ),
            money=True,
        ),
    ],
    [
        stat(
            "Revenue since the beginning",
            "Calculated from the committed rows of the ledger, not from counters.",
            query('sum by (currency) (ledger_amount_total{currency=~"$currency"})', "{{currency}}"),
            money=True,
        )
    ],
)
