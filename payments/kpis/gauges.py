"""Read the numbers of what is open from the rows."""

from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Min, Q
from django.db.models.functions import Now

from fintech.database.sql import fetch_all, fetch_one
from payments.models import Authentication, Dispute, DisputeResponse
from payments.states import DISPUTE, DISPUTE_RESPONSES

# Archived events are counted in the transaction that deletes them (payments/archive/drop.py).
DISPUTE_COUNTS = """
SELECT kind, sum(count)::bigint FROM (
    SELECT kind, count(*) AS count FROM payments_event WHERE kind = ANY(%(kinds)s) GROUP BY kind
    UNION ALL SELECT kind, count FROM payments_archivedtotal WHERE account = '' AND kind = ANY(%(kinds)s)
) AS counted GROUP BY kind
"""

# Through the journal: authorizations have no index by the state of their payment. One row for each currency. One that
# has expired is being voided, and must not hide the next.
WAITING_REVIEWS = """
SELECT held.currency, count(*), sum(held.amount_left)::bigint,
    extract(epoch FROM clock_timestamp() - min(entry.at))::float8,
    min(held.capture_before) FILTER (WHERE held.capture_before > now())
FROM payments_event AS entry
JOIN payments_authorization AS held ON held.transaction_id = entry.transaction_id AND held.closing_id IS NULL
JOIN payments_transaction AS payment ON payment.id = held.transaction_id AND payment.status = 'in_review'
WHERE entry.kind = 'in_review'
GROUP BY held.currency
"""


@dataclass(frozen=True)
class WaitingReviews:
    """Payments in review that lack a decision; their amounts in minor units, by currency."""

    number: int = 0
    oldest_seconds: float = 0.0
    amounts: dict[str, int] = field(default_factory=dict)
    earliest_expiry: datetime | None = None


def waiting_reviews() -> WaitingReviews:
    rows = fetch_all(WAITING_REVIEWS)
    if not rows:
        return WaitingReviews()
    currencies, numbers, amounts, ages, expiries = zip(*rows, strict=True)
    earliest = min((expiry for expiry in expiries if expiry is not None), default=None)
    return WaitingReviews(sum(numbers), max(ages), dict(zip(currencies, amounts, strict=True)), earliest)


def held_amounts() -> dict[str, int]:
    """Return what is authorized and neither captured nor released, by currency in minor units."""
    return dict(fetch_all("SELECT currency, sum(amount_left)::bigint FROM payments_authorization GROUP BY currency"))


def dispute_counts() -> dict[str, int]:
    """Return how many disputes have ever been in each state: the rows are the counter."""
    kinds = {DISPUTE.event_kind(status): status for status in DISPUTE.states}
    return {kinds[kind]: count for kind, count in fetch_all(DISPUTE_COUNTS, {"kinds": list(kinds)})}


def disputes_to_answer() -> tuple[int, datetime | None]:
    """Return the number of disputes that lack a response and still can have one, and when the earliest is due.

    Evidence that the gateway has not taken is missing as well.
    """
    lacking = (
        Q(status__in=list(DISPUTE_RESPONSES)),
        Q(
            status__in=list(DISPUTE_RESPONSES.values()),
            responses__kind=DisputeResponse.Kind.EVIDENCE,
            responses__delivered_at=None,
        ),
    )
    # One statement for each, because each has an index.
    in_time = Dispute.objects.filter(evidence_due_at__gt=Now())
    found = [in_time.filter(lacks).aggregate(number=Count("id"), earliest=Min("evidence_due_at")) for lacks in lacking]
    times = [row["earliest"] for row in found if row["earliest"] is not None]
    return sum(row["number"] for row in found), min(times, default=None)


def unresolved() -> tuple[int, float]:
    """Return the number of operations that are not final, and the age of the oldest in seconds.

    A challenge is one of them once its time is over.
    """
    return fetch_one(
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 FROM ("
        "SELECT created_at AS since FROM payments_unresolved UNION ALL"
        " SELECT expires_at FROM payments_authentication WHERE outcome IS NULL AND expires_at < now()) AS open"
    )


def open_challenges() -> int:
    """Return the number of payments whose customer has been asked to authenticate, and still has time."""
    return Authentication.objects.filter(outcome=None, expires_at__gt=Now()).count()
