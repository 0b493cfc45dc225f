"""Revenue, the service to customers, and the correctness of the figures."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.documented import AVERAGE_LATENCY, ERROR_RATIO, P95_LATENCY, REVENUE, TPS
from observability.dashboards.kit import (
    CURRENCY,
    PER_SECOND,
    above,
    apart_from_zero,
    below,
    dashboard,
    graph,
    heat,
    query,
    rate,
    row,
    stat,
    words,
)


def finance() -> Dashboard:
    return dashboard(
        "finance-overview",
        "Finance overview",
        "Payments, money, and the correctness of both. The first row needs no technical terms.",
        variables=[CURRENCY],
        rows=[AT_A_GLANCE, MONEY, PAYMENTS, AUTHORIZATIONS, DISPUTES, WAITING, GATEWAY_AND_FRAUD, TRUTH, DOCUMENTED],
    )


REVENUE_PANELS = [
    stat(
        "Revenue per minute, now",
        "Amounts of succeeded payments in major units of each currency, averaged over five minutes.",
        query('kpi:revenue:per_minute5m{currency=~"$currency"}', "{{currency}}"),
        unit="short",
        money=True,
    ),
    stat(
        "Revenue in the selected time range",
        "Amounts of succeeded payments in the selected time range.",
        query('sum by (currency) (increase(transaction_amount_sum{currency=~"$currency"}[$__range]))', "{{currency}}"),
        unit="short",
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
            unit="short",
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
            unit="short",
            thresholds=above(1e-9),
            mappings=words(_0=("Yes", "green")),
            only_now=True,
        ),
    ],
    REVENUE_PANELS,
)


MONEY = row(
    "Money",
    [
        graph(
            "Revenue per minute",
            "Amounts of succeeded payments in major units of each currency, on a logarithmic axis. Refunds are not"
            " subtracted.",
            query('kpi:revenue:per_minute5m{currency=~"$currency"}', "{{currency}}"),
            unit="short",
            money=True,
        ),
        graph(
            "Average payment",
            "Average amount of a succeeded payment over five minutes.",
            query(
                'kpi:revenue:per_minute5m{currency=~"$currency"} / 60 / (kpi:sales:rate5m{currency=~"$currency"} > 0)',
                "{{currency}}",
            ),
            unit="short",
            money=True,
        ),
    ],
    [
        stat(
            "Revenue since the beginning",
            "Calculated from the committed rows of the ledger, not from counters.",
            query('sum by (currency) (ledger_amount_total{currency=~"$currency"})', "{{currency}}"),
            unit="short",
            money=True,
        ),
    ],
)


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
            unit="short",
        ),
    ],
)


DISPUTES = row(
    "Disputes",
    [
        stat(
            "Disputes that need a response",
            "Disputes that wait for the merchant's evidence.",
            query("max(disputes_awaiting_response)", "waiting"),
            unit="short",
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
            unit="short",
        ),
    ],
)

AUTHORIZATIONS = row(
    "Authorizations",
    [
        graph(
            "Authorized, not captured",
            "Amounts that banks hold for us in major units, which are neither captured nor released.",
            query('sum by (currency) (authorized_not_captured_amount{currency=~"$currency"})', "{{currency}}"),
            unit="short",
            money=True,
        ),
        graph(
            "Authorizations and voided payments",
            "Per second. A voided payment is neither revenue nor a failure. Expired authorizations are voided.",
            query(rate("authorizations_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
    ],
    [
        graph(
            "Captures",
            "Captures per second by outcome. Failed: the gateway refused, and the authorization is unchanged.",
            query(rate("captures_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Voids",
            "Voids per second by outcome, also of expired authorizations and of the rest after captures.",
            query(rate("voids_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
    ],
    [
        graph(
            "Authentications",
            "3-D Secure per second by result. Failed and abandoned: the payment is declined.",
            query(rate("authentications_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Customers being asked",
            "Payments whose customer has been asked to authenticate, and still has time.",
            query("sum(open_challenges)", "payments"),
            unit="short",
        ),
    ],
)


WAITING = row(
    "Waiting times",
    [
        graph(
            "Response time",
            "From receipt to response, including the bank's time.",
            query("kpi:transaction_latency_seconds:mean5m", "mean"),
            query("kpi:transaction_latency_seconds:p95_5m", "95th percentile"),
            unit="s",
            thresholds=above(0.5, 1),
        ),
        graph(
            "Our own time",
            "The same without the bank's time. The objective is 300 ms for 95 % of the payments.",
            query("kpi:transaction_own_seconds:mean5m", "mean"),
            query("kpi:transaction_own_seconds:p95_5m", "95th percentile"),
            unit="s",
            thresholds=above(0.3),
        ),
        heat(
            "Distribution of response times",
            "Each column is a point in time, each cell a range of durations. A brighter cell has more payments.",
            query(rate("transaction_latency_seconds_bucket", by="le"), "{{le}}"),
            unit="s",
        ),
    ],
)


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
            unit="short",
        ),
    ],
)


TRUTH = row(
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
            unit="short",
            thresholds=apart_from_zero(),
            minimum=None,
        ),
        graph(
            "Gateway minus ledger",
            "The gateway's total minus the ledger's, in minor units. Any difference is an error.",
            query('gateway_drift{currency=~"$currency"}', "{{currency}}, minor units"),
            unit="short",
            thresholds=apart_from_zero(),
            minimum=None,
        ),
        graph(
            "Debits minus credits",
            "Sum of all ledger legs, in minor units. The database refuses a posting that is not zero.",
            query('ledger_imbalance{currency=~"$currency"}', "{{currency}}, minor units"),
            unit="short",
            thresholds=apart_from_zero(),
            minimum=None,
        ),
        graph(
            "Payments in the ledger",
            "Final payments by outcome since the beginning, from committed rows.",
            query("sum by (status) (ledger_transactions_total)", "{{status}}"),
            unit="short",
        ),
    ],
)


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
        stat(
            "Revenue per minute (one currency)",
            "Correct only with a single currency.",
            query(REVENUE, "revenue"),
            unit="short",
        ),
        stat(
            "Revenue by currency",
            "Use this query with several currencies.",
            query("sum by (currency) (rate(transaction_amount_sum[5m])) * 60", "{{currency}}"),
            unit="short",
            money=True,
        ),
    ],
)
