"""Authorizations that are captured later, their captures and voids."""

from django.db import models
from django.db.models import F, Q

from payments.models.operations import FollowingOperation, constraints_of
from payments.states import CAPTURE, VOID, CaptureStatus, VoidStatus


class Authorization(models.Model):
    """The money that the bank still holds for a payment. The row exists until all of it is captured or released.

    `amount_left` is not captured; `amount_reserved`, a part of it, is in running captures. `closing_id` is the running
    void or final capture, beside which no other operation may start.
    """

    transaction = models.OneToOneField("Transaction", on_delete=models.PROTECT, primary_key=True, related_name="held")
    currency = models.CharField(max_length=3)
    amount_left = models.BigIntegerField()
    amount_reserved = models.BigIntegerField(db_default=0)
    closing_id = models.UUIDField(null=True)
    capture_before = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_left__gt=0, amount_reserved__gte=0, amount_reserved__lte=F("amount_left")),
                name="authorization_reserved_within_left",
            )
        ]

    def __str__(self) -> str:
        return str(self.transaction_id)


class Capture(FollowingOperation):
    """Money taken from an authorization: a part or all of it. The rest is released after a `final` one."""

    Status = CaptureStatus
    LIFECYCLE = CAPTURE

    transaction = models.ForeignKey("Transaction", on_delete=models.PROTECT, related_name="captures")
    idempotency_key = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices)
    # The requested amount, with which a replay is compared: NULL is "all that is left".
    amount_requested = models.BigIntegerField(null=True)
    final = models.BooleanField()

    class Meta(FollowingOperation.Meta):
        constraints = [
            *constraints_of(CAPTURE),
            models.UniqueConstraint(
                fields=["transaction"], condition=Q(final=True) & ~Q(status="failed"), name="capture_final_once"
            ),
        ]


class Void(FollowingOperation):
    """The release of what an authorization still holds: asked for by the merchant, or because it expired."""

    Status = VoidStatus
    LIFECYCLE = VOID

    transaction = models.ForeignKey("Transaction", on_delete=models.PROTECT, related_name="voids")
    status = models.CharField(max_length=10, choices=Status.choices)
    idempotency_key = models.TextField(null=True)  # NULL: it expired
    reason = models.TextField(null=True)

    class Meta(FollowingOperation.Meta):
        constraints = [
            *constraints_of(VOID),
            models.UniqueConstraint(fields=["transaction"], condition=~Q(status="failed"), name="void_once"),
        ]
