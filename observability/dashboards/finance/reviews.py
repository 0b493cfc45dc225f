from observability.dashboards.kit import below, query, row, stat

REVIEWS = row(
    "Reviews",
    [
        stat(
            "Payments in review",
            "Payments that look like fraud and wait for an operator to accept or refuse them.",
            query("max(reviews_waiting)", "waiting"),
        ),
        stat(
            "Age of the oldest payment in review",
            "The time since the oldest of them was held.",
            query("max(review_oldest_waiting_seconds)", "oldest"),
            unit="s",
        ),
        stat(
            "Time until the earliest payment in review expires",
            "Without a decision by then, the payment is voided.",
            query("min(review_expiry_timestamp_seconds) - time()", "expires in"),
            unit="s",
            thresholds=below(2 * 86_400, 86_400),
        ),
        stat(
            "Amount in review",
            "Amounts of these payments, in major units.",
            query('max by (currency) (reviews_waiting_amount{currency=~"$currency"})', "{{currency}}"),
            money=True,
        ),
    ],
)
