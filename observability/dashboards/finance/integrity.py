from observability.dashboards.kit import apart_from_zero, graph, query, row

INTEGRITY = row(
    "Correctness of these figures",
    [
        graph(
            "Ledger minus counters",
            "Committed rows minus counters, in payments, in minor units, and in authorizations, captures and voids,"
            " and the number of hosts whose counters are not compared. Any value but 0 is an error.",
            query('kpi_drift{kpi="transactions"}', "{{status}}"),
            query('kpi_drift{kpi="revenue", currency=~"$currency"}', "{{currency}}, minor units"),
            query("operation_drift", "{{kpi}} {{status}}"),
            query("sum(kpi_unseen_epochs)", "hosts not compared"),
            thresholds=apart_from_zero(),
            minimum=None,
        ),
        graph(
            "Gateway minus ledger",
            "The gateway's total minus the ledger's, in minor units. Any difference is an error.",
            query('gateway_drift{currency=~"$currency"}', "{{currency}}, minor units"),
            thresholds=apart_from_zero(),
            minimum=None,
        ),
        graph(
            "Debits minus credits",
            "Sum of all ledger legs, in minor units. The database refuses a posting that is not zero.",
            query('ledger_imbalance{currency=~"$currency"}', "{{currency}}, minor units"),
            thresholds=apart_from_zero(),
            minimum=None,
        ),
        graph(
            "Payments in the ledger",
            "Final payments by outcome since the beginning, from committed rows.",
            query("sum by (status) (ledger_transactions_total)", "{{status}}"),
        ),
    ],
)
