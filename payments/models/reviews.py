"""Decisions about payments that are held as possible fraud."""

import uuid
from functools import cached_property

from django.db import models
from django.db.models.functions import Now

from payments.models.authorizations import Capture, Void
from payments.models.transactions import Transaction
from payments.states import CaptureStatus


class Review(models.Model):
    """An operator's decision about a payment in review. The capture or void that it needs has the same id."""

    class Decision(models.TextChoices):
        ACCEPT = "accept", "Accepted"
        REFUSE = "refuse", "Refused"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="reviews")
    idempotency_key = models.TextField()
    decision = models.CharField(max_length=6, choices=Decision.choices)
    reason = models.TextField(null=True)
    actor = models.TextField()
    request_id = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return str(self.id)

    @cached_property
    def operation(self) -> Capture | Void | None:
        return Capture.objects.filter(id=self.id).first() or Void.objects.filter(id=self.id).first()

    @property
    def status(self) -> str:
        return self.operation.status if self.operation else CaptureStatus.SUCCEEDED.value

    @property
    def amount(self) -> int:
        return self.operation.amount if self.operation else self.transaction.amount

    @property
    def failure_code(self) -> str | None:
        return self.operation.failure_code if self.operation else None

    @property
    def event_kind(self) -> str:
        return f"review_{'accepted' if self.decision == self.Decision.ACCEPT else 'refused'}"
