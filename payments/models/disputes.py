"""Disputes, and the merchants' responses."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.merchants import Merchant
from payments.models.transactions import Transaction
from payments.states import DISPUTE, DISPUTE_RESPONSES, DisputeStatus


class Dispute(models.Model):
    """An objection of the cardholder: the gateway holds the money back until it is decided.

    `sequence` is the number of the gateway's last event about it. `fee` is the gateway's.
    """

    Status = DisputeStatus
    FINAL = DISPUTE.final

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No foreign key, as in `Transaction.merchant`.
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="disputes")
    gateway_key = models.UUIDField(unique=True)  # the gateway knows the dispute by it
    amount = models.BigIntegerField()
    fee = models.BigIntegerField()
    reason = models.TextField()
    status = models.CharField(max_length=16, choices=Status.choices)
    sequence = models.IntegerField()
    evidence_due_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["merchant", "-id"], name="dispute_merchant_newest"),
            models.Index(
                fields=["evidence_due_at"], condition=Q(status__in=list(DISPUTE_RESPONSES)), name="dispute_due"
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0, fee__gte=0), name="dispute_amounts_not_negative"),
            models.CheckConstraint(condition=Q(status__in=DISPUTE.states), name="dispute_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=DISPUTE.held, settled_at=None)
                | Q(status__in=DISPUTE.final, settled_at__isnull=False),
                name="dispute_settled_exactly_if_final",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=list(DISPUTE_RESPONSES)) | Q(evidence_due_at__isnull=False),
                name="dispute_response_has_due_date",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class DisputeResponse(models.Model):
    """The merchant's response in one round of a dispute: evidence, or that it accepts. The worker delivers it.

    `outcome` is the gateway's answer. It is NULL before the delivery, and for those before it was stored.
    """

    class Kind(models.TextChoices):
        EVIDENCE = "evidence"
        ACCEPTANCE = "acceptance"

    class Outcome(models.TextChoices):
        TAKEN = "taken"
        REFUSED = "refused"

    dispute = models.ForeignKey(Dispute, on_delete=models.PROTECT, related_name="responses")
    round = models.SmallIntegerField()  # 2 in pre-arbitration
    kind = models.CharField(max_length=10, choices=Kind.choices)
    text = models.TextField(blank=True, default="")
    files = models.JSONField(default=list)  # name, sha256 and size of each
    actor = models.TextField()
    gateway_key = models.UUIDField(default=uuid.uuid4)  # the gateway knows the response by it
    created_at = models.DateTimeField(db_default=Now())
    attempts = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=7, choices=Outcome.choices, null=True)
    failure_code = models.TextField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["dispute", "round"], name="dispute_response_once"),
            models.CheckConstraint(
                condition=Q(outcome=None, failure_code=None)
                | Q(outcome__isnull=False, delivered_at__isnull=False)
                & (Q(outcome="taken", failure_code=None) | Q(outcome="refused")),
                name="dispute_response_outcome_fits",
            ),
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(delivered_at=None), name="dispute_response_due")]

    def __str__(self) -> str:
        return f"{self.kind} {self.round}"
