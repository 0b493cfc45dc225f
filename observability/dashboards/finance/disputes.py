from observability.dashboards.kit import below, query, row, stat

DISPUTES = row(
    "Disputes",
    [
        stat(
            "Disputes that need a response",
            "Disputes that wait for the merchant's evidence.",
            query("max(disputes_awaiting_response)", "waiting"),
        ),
        stat(
            "Time until the earliest response is due",
            "Without evidence by then, the dispute is lost.",
            query("min(dispute_response_due_timestamp_seconds) - time()", "due in"),
            unit="s",
            thresholds=below(2 * 86_400, 86_400),
        ),
        stat(
            "Disputes in the selected time range",
            "Disputes by the state that they came into. Opened ones hold the amount back, won ones return it.",
            query("sum by (state) (increase(disputes_total[$__range]))", "{{state}}"),
        ),
    ],
)
