"""The KPIs. Every label value starts at 0, so that rate() sees the first event.

The metrics of money (`transactions_total`, `transaction_amount`, `unknown_outcomes_total`) are incremented in one
place, after the commit, by `payments/settlement/group_commit.py`.
"""

from django.conf import settings
from prometheus_client import Counter, Gauge, Histogram, Summary

# Bucket bounds at the objective's threshold of 300 ms and around the gateway's usual times.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0)

TRANSACTIONS = Counter("transactions_total", "Payments that became final, each once.", ["status"])
UNKNOWN_OUTCOMES = Counter("unknown_outcomes_total", "Payments whose outcome was unknown at first.")
AMOUNT = Summary("transaction_amount", "Amounts of succeeded payments, in major units.", ["currency"])
LATENCY = Histogram(
    "transaction_latency_seconds",
    "From receipt to response of a new single payment, including the gateway's time.",
    buckets=_SECONDS,
)
OWN = Histogram(
    "transaction_own_seconds",
    "The same without the gateway's time.",
    buckets=(0.001, 0.0025, *_SECONDS),
)
IN_PROGRESS = Gauge("transactions_in_progress", "Payments in progress.", multiprocess_mode="livesum")
GATEWAY_REQUESTS = Counter("gateway_requests_total", "Calls to the gateway by outcome.", ["outcome"])
GATEWAY_SECONDS = Histogram("gateway_request_seconds", "Duration of calls to the gateway.", buckets=_SECONDS)
FRAUD_SCORE = Histogram(
    "fraud_score",
    "Fraud scores of new payments.",
    buckets=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
FRAUD_UNSCORED = Counter("fraud_unscored_total", "Payments that could not be scored.")
IDEMPOTENCY = Counter(
    "idempotency_requests_total", "Requests for payments and refunds, by idempotency result.", ["result"]
)
THROTTLED = Counter("throttled_requests_total", "Requests refused because their API key exceeded its limit.")
REFUNDS = Counter("refunds_total", "Refunds that became final.", ["status"])

# Resolved children, because a label lookup takes as long as counting. Literals instead of the models' values, because
# metrics need no Django apps.
STATUS = {status: TRANSACTIONS.labels(status) for status in ("succeeded", "declined", "blocked", "failed")}
OUTCOME = {
    outcome: GATEWAY_REQUESTS.labels(outcome) for outcome in ("approved", "declined", "error", "timeout", "unavailable")
}
RESULT = {result: IDEMPOTENCY.labels(result) for result in ("new", "replayed", "in_flight", "mismatch", "recovered")}
REFUND_STATUS = {status: REFUNDS.labels(status) for status in ("succeeded", "failed")}
for _currency in settings.KPI_CURRENCIES:
    AMOUNT.labels(_currency)
