"""The queries that the first version documented. People have them in their notes, so they must work verbatim."""

TPS = "sum(rate(transactions_total[1m]))"
ERROR_RATIO = 'sum(rate(transactions_total{status="failed"}[5m])) / clamp_min(sum(rate(transactions_total[5m])), 1e-9)'
AVERAGE_LATENCY = (
    "rate(transaction_latency_seconds_sum[5m]) / clamp_min(rate(transaction_latency_seconds_count[5m]), 1e-9)"
)
P95_LATENCY = "histogram_quantile(0.95, sum by (le) (rate(transaction_latency_seconds_bucket[5m])))"
# Correct for one currency. With several: sum by (currency).
REVENUE = "sum(rate(transaction_amount_sum[5m])) * 60"

PROMQL = (TPS, ERROR_RATIO, AVERAGE_LATENCY, P95_LATENCY, REVENUE)

# LogQL: one line per stored delivery.
ALERT_LOG = '{container="fintech_flask"} |= "alert_received"'
