"""Events that the gateway sends."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class GatewayEvent(models.Model):
    """An event that the gateway sent, stored once and before it is read; the worker notes its outcome."""

    class Outcome(models.TextChoices):
        APPLIED = "applied"
        IGNORED = "ignored", "Ignored: nothing was left to do"
        REFUSED = "refused", "Refused: it contradicts our rows"
        UNREADABLE = "unreadable"
        UNKNOWN_TYPE = "unknown_type", "Of an unknown type"

    gateway = models.TextField()
    identifier = models.TextField()
    body = models.BinaryField()
    sent_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=Now())
    request_id = models.TextField(null=True)
    type = models.TextField(null=True)  # NULL: not read yet, or unreadable
    attempts = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=12, choices=Outcome.choices, null=True)
    detail = models.TextField(blank=True, default="")
    processed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["due_at"], condition=Q(processed_at=None), name="gateway_event_due")]
        constraints = [
            models.UniqueConstraint(fields=["gateway", "identifier"], name="gateway_event_once"),
            models.CheckConstraint(
                condition=Q(processed_at=None, outcome=None) | Q(processed_at__isnull=False, outcome__isnull=False),
                name="gateway_event_outcome_if_processed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type or 'event'} {self.identifier}"
