"""Refunds."""

from django.db import models

from payments.models.operations import FollowingOperation, constraints_of
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
        constraints = constraints_of(REFUND)
