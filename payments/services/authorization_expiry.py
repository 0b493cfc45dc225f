"""Void authorizations whose time is over, also those that wait for a review."""

from uuid import UUID

from django.db.models import DurationField, Exists, ExpressionWrapper, F, OuterRef
from django.db.models.functions import Now
from django.db.transaction import atomic
from uuid_utils.compat import uuid7

from payments.errors import PaymentError
from payments.models import Authorization, Transaction, Void
from payments.services.operations import lock_payment, require_authorized
from payments.services.results import CarryOut
from payments.services.voids import close

# The authorizations that one turn of the worker voids.
BATCH_SIZE = 100
# After a void that failed, the next one waits for a quarter of the time since the expiry. So the pauses grow.
PAUSE = ExpressionWrapper((Now() - F("capture_before")) / 4, output_field=DurationField())
EXPIRED = "The authorization expired."
EXPIRY_ACTOR = "expiry"


def void_expired() -> int:
    """Void authorizations whose time is over. Returns how many there were.

    Those with an operation in progress wait for the next turn.
    """
    recent_voids = Void.objects.filter(transaction_id=OuterRef("pk"), created_at__gt=Now() - OuterRef("pause"))
    expired = Authorization.objects.filter(capture_before__lte=Now(), closing_id=None, amount_reserved=0)
    due = expired.annotate(pause=PAUSE).filter(~Exists(recent_voids))
    rows = due.order_by("capture_before").values_list("transaction_id", "transaction__merchant_id")[:BATCH_SIZE]
    voided = 0
    for transaction_id, merchant_id in list(rows):
        voided += void_one(merchant_id, transaction_id)
    return voided


def void_one(merchant_id: int, transaction_id: UUID) -> bool:
    """Void what is left. Returns False if it is captured, voided or in progress meanwhile."""
    try:
        carry_out = _begin(merchant_id, transaction_id)
    except PaymentError:
        return False
    carry_out()
    return True


@atomic
def _begin(merchant_id: int, transaction_id: UUID) -> CarryOut:
    payment = lock_payment(merchant_id, transaction_id)
    if payment.status != Transaction.Status.IN_REVIEW:
        require_authorized(payment, "voided")
    return close(payment, uuid7(), None, EXPIRED, EXPIRY_ACTOR)
