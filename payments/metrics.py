"""The KPIs. Every label value starts at 0, so that rate() sees the first event.

The metrics of money (`transactions_total`, `transaction_amount`, `unknown_outcomes_total`) are incremented in one
place, after the commit, by `payments/storage/counters.py`.
"""

from django.conf import settings
from prometheus_client import Counter, Gauge, Histogram, Summary

from fintech.telemetry.observations import Observations

# Bucket bounds at the objective's threshold of 300 ms and around the gateway's usual times.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0)

TRANSACTIONS = Counter("transactions_total", "Payments that became final, each once.", ["status"])
UNKNOWN_OUTCOMES = Counter("unknown_outcomes_total", "Payments whose outcome was unknown at first.")
AMOUNT = Summary("transaction_amount", "Amounts of succeeded payments, in major units.", ["currency"])
LATENCY = Observations(
    Histogram(
        "transaction_latency_seconds",
        "From receipt to response of a new single payment, including the gateway's time.",
        buckets=_SECONDS,
    )
)
OWN = Observations(
    Histogram("transaction_own_seconds", "The same without the gateway's time.", buckets=(0.001, 0.0025, *_SECONDS))
)
IN_PROGRESS = Gauge("transactions_in_progress", "Payments in progress.", multiprocess_mode="livesum")
GATEWAY_REQUESTS = Counter("gateway_requests_total", "Calls to the gateway by outcome.", ["outcome"])
GATEWAY_SECONDS = Observations(
    Histogram("gateway_request_seconds", "Duration of calls to the gateway.", buckets=_SECONDS)
)
# The same for each gateway, with its cancels. The two above keep their labels.
CIRCUIT_OPEN = Gauge(
    "gateway_circuit_open",
    "Processes whose circuit breaker for this gateway is open.",
    ["gateway"],
    multiprocess_mode="livesum",
)
GATEWAY_CALLS = Counter("gateway_calls_total", "Calls to each gateway by outcome.", ["gateway", "outcome"])
GATEWAY_CALL_SECONDS = Summary("gateway_call_seconds", "Duration of calls to each gateway.", ["gateway"])
FRAUD_SCORE = Observations(
    Histogram(
        "fraud_score", "Fraud scores of new payments.", buckets=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    )
)
FRAUD_UNSCORED = Counter("fraud_unscored_total", "Payments that could not be scored.")
IDEMPOTENCY = Counter(
    "idempotency_requests_total", "Requests for payments and refunds, by idempotency result.", ["result"]
)
THROTTLED = Counter("throttled_requests_total", "Requests refused because their API key exceeded its limit.")
THROTTLE_FALLBACKS = Counter(
    "throttle_fallbacks_total", "Requests limited by this host alone because the shared counter did not answer."
)
REFUNDS = Counter("refunds_total", "Refunds that became final.", ["status"])
WEBHOOK_ATTEMPTS = Counter("webhook_attempts_total", "Tries to deliver events to merchants, by outcome.", ["outcome"])
WEBHOOK_TURN_ERRORS = Counter("webhook_turn_errors_total", "Turns of an endpoint that failed by our own fault.")
GATEWAY_EVENTS_RECEIVED = Counter("gateway_events_received_total", "Events from the gateway, by outcome.", ["outcome"])
GATEWAY_EVENTS_PROCESSED = Counter("gateway_events_processed_total", "Stored events, by outcome.", ["outcome"])
AUTHORIZATIONS = Counter(
    "authorizations_total", "Payments that were authorized, or held for a review; those voided uncaptured.", ["status"]
)
CAPTURES = Counter("captures_total", "Captures that became final.", ["status"])
AUTHENTICATIONS = Counter("authentications_total", "Authentications of customers (3-D Secure) by result.", ["status"])
VOIDS = Counter("voids_total", "Voids that became final, also of expired authorizations.", ["status"])

# Resolved children, because a label lookup takes as long as counting. Literals instead of the models' values, because
# metrics need no Django apps.
STATUS = {status: TRANSACTIONS.labels(status) for status in ("succeeded", "declined", "blocked", "failed")}
OUTCOME = {
    outcome: GATEWAY_REQUESTS.labels(outcome)
    for outcome in ("approved", "declined", "error", "timeout", "unavailable", "requires_action")
}
RESULT = {result: IDEMPOTENCY.labels(result) for result in ("new", "replayed", "in_flight", "mismatch", "recovered")}
# By the kind of the event, and by the metric's name and status: they equal the rows, as `transactions_total` does.
OPERATIONS = {
    **{status: AUTHORIZATIONS.labels(status) for status in ("authorized", "in_review", "voided")},
    **{
        f"authentication_{status}": AUTHENTICATIONS.labels(status)
        for status in ("authenticated", "failed", "abandoned", "frictionless", "exempt")
    },
    **{f"capture_{status}": CAPTURES.labels(status) for status in ("succeeded", "failed")},
    **{f"void_{status}": VOIDS.labels(status) for status in ("succeeded", "failed")},
}
REFUND_STATUS = {status: REFUNDS.labels(status) for status in ("succeeded", "failed")}
WEBHOOK_OUTCOME = {
    outcome: WEBHOOK_ATTEMPTS.labels(outcome)
    for outcome in ("delivered", "refused", "redirect", "gone", "timeout", "connection", "certificate", "address")
}
for _outcome in ("stored", "duplicate", "refused"):
    GATEWAY_EVENTS_RECEIVED.labels(_outcome)
for _outcome in ("applied", "ignored", "refused", "unreadable", "unknown_type"):
    GATEWAY_EVENTS_PROCESSED.labels(_outcome)
for _currency in settings.KPI_CURRENCIES:
    AMOUNT.labels(_currency)


class GatewayCalls:
    """Counts the calls to one gateway. Its series start at 0."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._outcomes = {outcome: GATEWAY_CALLS.labels(gateway, outcome) for outcome in (*OUTCOME, "cancelled")}
        self._seconds = GATEWAY_CALL_SECONDS.labels(gateway)
        self._circuit_open = CIRCUIT_OPEN.labels(gateway)

    def refused(self) -> None:
        """Count a call that the circuit breaker did not let through."""
        self._add("unavailable")

    def note_circuit(self, is_open: bool) -> None:
        self._circuit_open.set(is_open)

    def ended(self, outcome: str, seconds: float) -> None:
        GATEWAY_SECONDS.observe(seconds)
        self._seconds.observe(seconds)
        self._add(outcome)

    def _add(self, outcome: str) -> None:
        if outcome not in self._outcomes:  # `key_used`, which not every gateway answers
            self._outcomes[outcome] = GATEWAY_CALLS.labels(self._gateway, outcome)
        self._outcomes[outcome].inc()
        if outcome in OUTCOME:  # those of a cancel are no outcomes of a payment
            OUTCOME[outcome].inc()
