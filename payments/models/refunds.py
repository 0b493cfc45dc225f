"""Refunds."""

from django.db import models
from django.db.models import Q

from payments.models.operations import FollowingOperation
from payments.models.transactions import Transaction
from payments.states import REFUND, RefundStatus


class Refund(FollowingOperation):
    """Money returned: a part of one transaction, with its own lifecycle."""

    Status = RefundStatus
    LIFECYCLE = REFUND

    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="refunds")
    idempotency_key = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices)
    # The requested amount, with which a replay is compared: NULL is "all that remains".
    amount_requested = models.BigIntegerField(null=True)
    reason = models.TextField(null=True)

    class Meta(FollowingOperation.Meta):
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_amount_positive"),
            models.CheckConstraint(
                condition=Q(status__in=REFUND.open, settled_at=None)
                | Q(status__in=REFUND.final, settled_at__isnull=False),
                name="refund_settled_exactly_if_final",
            ),
        ]
