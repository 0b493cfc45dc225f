"""Read the numbers of what is open from the rows."""

from datetime import datetime

from django.db import connection
from django.db.models import Count, Min
from django.db.models.functions import Now

from payments.models import Authentication, Dispute
from payments.states import DISPUTE, DISPUTE_RESPONSES


def held_amounts() -> dict[str, int]:
    """Return what is authorized and neither captured nor released, by currency in minor units."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT currency, sum(amount_left)::bigint FROM payments_authorization GROUP BY currency")
        return dict(cursor.fetchall())


def dispute_counts() -> dict[str, int]:
    """Return how many disputes have ever been in each state: the rows are the counter."""
    kinds = {DISPUTE.event_kind(status): status for status in DISPUTE.states}
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, count(*) FROM payments_event WHERE kind = ANY(%s) GROUP BY kind", [list(kinds)])
        return {kinds[kind]: count for kind, count in cursor.fetchall()}


def disputes_to_answer() -> tuple[int, datetime | None]:
    """Return the number of disputes that wait for the merchant, and the earliest time at which a response is due."""
    waiting = Dispute.objects.filter(status__in=list(DISPUTE_RESPONSES))
    result = waiting.aggregate(number=Count("id"), earliest=Min("evidence_due_at"))
    return result["number"], result["earliest"]


def unresolved() -> tuple[int, float]:
    """Return the number of operations that are not final, and the age of the oldest in seconds.

    A challenge is one of them once its time is over.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 FROM ("
            "SELECT created_at AS since FROM payments_unresolved UNION ALL"
            " SELECT expires_at FROM payments_authentication WHERE outcome IS NULL AND expires_at < now()) AS open"
        )
        return cursor.fetchone()


def open_challenges() -> int:
    """Return the number of payments whose customer has been asked to authenticate, and still has time."""
    return Authentication.objects.filter(outcome=None, expires_at__gt=Now()).count()
