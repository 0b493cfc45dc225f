"""What the business earns, whether customers are served, and whether the numbers are true."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.documented import AVERAGE_LATENCY, ERROR_RATIO, P95_LATENCY, REVENUE, TPS
from observability.dashboards.kit import (
    CURRENCY,
    PER_SECOND,
    Panel,
    Section,
    above,
    apart_from_zero,
    below,
    dashboard,
    graph,
    heat,
    query,
    row,
    stat,
    words,
)


def finance() -> Dashboard:
    return dashboard(
        "finance-overview",
        "Finance overview",
        "Payments, money, and whether both can be believed. The first row needs no technical words.",
        variables=[CURRENCY],
        rows=[at_a_glance(), money(), payments(), waiting(), gateway_and_fraud(), truth(), documented()],
    )


def at_a_glance() -> Section:
    return row(
        "Is the business well?",
        [
            stat(
                "Payments now",
                "Payments a second that got their final answer, whatever it was.",
                query("kpi:transactions:rate1m", "payments"),
                unit=PER_SECOND,
                decimals=1,
            ),
            stat(
                "Payments that succeed",
                "Of all payments of the past five minutes. Banks decline some: 85 to 95 % is usual.",
                query("kpi:transaction_successes:ratio_rate5m", "succeeded"),
                unit="percentunit",
                thresholds=below(0.8, 0.6),
                decimals=1,
            ),
            stat(
                "Payments that fail",
                "Payments of the past five minutes that we could not carry out: our fault, not the bank's.",
                query("kpi:transaction_failures:ratio_rate5m", "failed"),
                unit="percentunit",
                thresholds=above(0.01, 0.05),
                decimals=2,
            ),
            stat(
                "What customers wait",
                "19 of 20 payments are answered faster than this; the bank's time is in it.",
                query("kpi:transaction_latency_seconds:p95_5m", "95 % faster than"),
                unit="s",
                thresholds=above(0.5, 1),
            ),
            stat(
                "Outcome not known",
                "Payments whose outcome we do not know yet. Each is settled within seconds; none is charged twice.",
                query("kpi:unresolved_transactions:max", "being settled"),
                unit="short",
                thresholds=above(20, 100),
                decimals=0,
            ),
            stat(
                "Do the books agree?",
                "This page against the ledger, the ledger against the bank and in itself. Any difference is an error.",
                query("max(abs(kpi_drift)) + max(abs(gateway_drift)) + max(abs(ledger_imbalance))", "difference"),
                unit="short",
                thresholds=above(1e-9),
                mappings=words(_0=("Yes", "green")),
                only_now=True,
            ),
        ],
        revenue(),
    )


def revenue() -> list[Panel]:
    return [
        stat(
            "Revenue per minute, now",
            "Amounts of succeeded payments in whole units of each currency, in the mean of five minutes.",
            query('kpi:revenue:per_minute5m{currency=~"$currency"}', "{{currency}}"),
            unit="short",
            money=True,
        ),
        stat(
            "Revenue in the time shown",
            "Amounts of succeeded payments between the left and the right edge of this page.",
            query(
                'sum by (currency) (increase(transaction_amount_sum{currency=~"$currency"}[$__range]))', "{{currency}}"
            ),
            unit="short",
            money=True,
        ),
    ]


def money() -> Section:
    return row(
        "Money",
        [
            graph(
                "Revenue per minute",
                "Amounts of succeeded payments in whole units of each currency, on an axis of powers of ten. Refunds"
                " are not taken off.",
                query('kpi:revenue:per_minute5m{currency=~"$currency"}', "{{currency}}"),
                unit="short",
                money=True,
            ),
            graph(
                "Average payment",
                "The amount of a succeeded payment, in the mean of five minutes.",
                query(
                    'kpi:revenue:per_minute5m{currency=~"$currency"} / 60'
                    ' / (kpi:sales:rate5m{currency=~"$currency"} > 0)',
                    "{{currency}}",
                ),
                unit="short",
                money=True,
            ),
        ],
        [
            stat(
                "Revenue since the beginning",
                "From the committed rows of the ledger, not from counters.",
                query('sum by (currency) (ledger_amount_total{currency=~"$currency"})', "{{currency}}"),
                unit="short",
                money=True,
            ),
        ],
    )


def payments() -> Section:
    return row(
        "Payments",
        [
            graph(
                "Payments per second by outcome",
                "Declined: the bank said no. Blocked: fraud. Failed: our fault. Each payment counts once.",
                query("sum by (status) (rate(transactions_total[$__rate_interval]))", "{{status}}"),
                unit=PER_SECOND,
                stacked=True,
            ),
            graph(
                "Payments per second, beside what is usual",
                "Usual: the same half hour of yesterday, or of a week ago if less. Below half of it an alert fires.",
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
                "Payments that are being worked on at this moment, over all web processes.",
                query("kpi:transactions_in_progress:sum", "in progress"),
                unit="short",
            ),
        ],
    )


def waiting() -> Section:
    return row(
        "How long customers wait",
        [
            graph(
                "Time to the answer",
                "From receipt to answer, the bank's time included: the mean, and what 95 % stay below.",
                query("kpi:transaction_latency_seconds:mean5m", "mean"),
                query("kpi:transaction_latency_seconds:p95_5m", "95th percentile"),
                unit="s",
                thresholds=above(0.5, 1),
            ),
            graph(
                "Our own time",
                "The same without the bank's time. We promise 300 ms for 95 % of the payments.",
                query("kpi:transaction_own_seconds:mean5m", "mean"),
                query("kpi:transaction_own_seconds:p95_5m", "95th percentile"),
                unit="s",
                thresholds=above(0.3),
            ),
            heat(
                "All answers by duration",
                "Each column is a moment, each field a range of durations; the brighter, the more payments.",
                query("sum by (le) (rate(transaction_latency_seconds_bucket[$__rate_interval]))", "{{le}}"),
                unit="s",
            ),
        ],
    )


def gateway_and_fraud() -> Section:
    return row(
        "Bank and fraud",
        [
            graph(
                "Answers of the gateway",
                "Calls a second by what came of them. Error, timeout and unavailable are the gateway's trouble.",
                query("sum by (outcome) (rate(gateway_requests_total[$__rate_interval]))", "{{outcome}}"),
                unit=PER_SECOND,
                stacked=True,
            ),
            graph(
                "Fraud and declines",
                "Shares of the past five minutes' payments. Alerts: a quarter declined, a tenth scored above 0.7.",
                query("kpi:transaction_blocks:ratio_rate5m", "blocked"),
                query("kpi:fraud_high:ratio_rate5m", "score above 0.7"),
                query("kpi:transaction_declines:ratio_rate5m", "declined by the bank"),
                unit="percentunit",
                thresholds=above(0.1, 0.2),
            ),
            heat(
                "Fraud scores",
                "From 0, harmless, to 1. Each merchant chooses from which score on payments are blocked.",
                query("sum by (le) (rate(fraud_score_bucket[$__rate_interval]))", "{{le}}"),
                unit="short",
            ),
        ],
    )


def truth() -> Section:
    return row(
        "Are these numbers true?",
        [
            graph(
                "Ledger minus counters",
                "Committed rows less what the counters say, in payments and in minor units. It is zero, or something is"
                " broken.",
                query('kpi_drift{kpi="transactions"}', "{{status}}"),
                query('kpi_drift{kpi="revenue", currency=~"$currency"}', "{{currency}}, minor units"),
                unit="short",
                thresholds=apart_from_zero(),
                minimum=None,
            ),
            graph(
                "Gateway minus ledger",
                "What the gateway says it charged less what the ledger says, in minor units.",
                query('gateway_drift{currency=~"$currency"}', "{{currency}}, minor units"),
                unit="short",
                thresholds=apart_from_zero(),
                minimum=None,
            ),
            graph(
                "Debits minus credits",
                "What all legs of the ledger sum to, in minor units. The database refuses a posting that is not zero.",
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


def documented() -> Section:
    """The queries that people have in their notes since the first version; the recorded KPIs above are the same."""
    return row(
        "The documented queries, word for word",
        [
            stat("Transactions per second", "Over one minute.", query(TPS, "TPS"), unit=PER_SECOND, decimals=2),
            stat("Error ratio", "Failed of all.", query(ERROR_RATIO, "errors"), unit="percentunit", decimals=2),
            stat("Average latency", "Of each scraped process.", query(AVERAGE_LATENCY, "{{job}}"), unit="s"),
            stat("95th percentile of latency", "Of all processes together.", query(P95_LATENCY, "p95"), unit="s"),
            stat(
                "Revenue a minute",
                "True where there is one currency only.",
                query(REVENUE, "revenue"),
                unit="short",
            ),
            stat(
                "Revenue by currency",
                "What to use where there are several.",
                query("sum by (currency) (rate(transaction_amount_sum[5m])) * 60", "{{currency}}"),
                unit="short",
                money=True,
            ),
        ],
    )
