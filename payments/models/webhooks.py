"""Webhooks to merchants: endpoints, secrets, events and deliveries."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.journal import Event
from payments.models.merchants import Merchant


class WebhookEndpoint(models.Model):
    """A merchant's address that receives events. Never deleted: its attempts refer to it.

    One worker at a time sends to an endpoint, the holder of `lease_token`, so that the order is kept. `retry_at` pauses
    the endpoint after failures in a row.
    """

    class DisabledBecause(models.TextChoices):
        MERCHANT = "merchant", "Disabled by the merchant"
        FAILING = "failing", "It failed for five days"
        GONE = "gone", "It answered 410 Gone"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, related_name="webhook_endpoints")
    url = models.TextField(verbose_name="URL")
    description = models.TextField(blank=True, default="")
    event_types = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Types of events, such as payment.succeeded. Empty: all.",
    )
    is_enabled = models.BooleanField(default=True)
    disabled_because = models.CharField(max_length=8, choices=DisabledBecause.choices, null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    failures = models.IntegerField(db_default=0, editable=False)  # in a row
    failing_since = models.DateTimeField(null=True, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["merchant", "url"], name="webhook_endpoint_once"),
            models.CheckConstraint(
                condition=Q(is_enabled=True, disabled_because=None)
                | Q(is_enabled=False, disabled_because__isnull=False),
                name="webhook_endpoint_disabled_for_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return self.url


class WebhookSecret(models.Model):
    """A secret that signs deliveries, encrypted (`payments/webhooks/signing.py`). Several are valid in a rotation."""

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="secrets")
    encrypted = models.BinaryField(max_length=256, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"secret {self.pk}"


class WebhookEvent(models.Model):
    """An event for merchants.

    Its object is built from the journal's entry; an event without one stores it in `data`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    type = models.TextField()
    journal = models.OneToOneField(Event, on_delete=models.PROTECT, null=True, db_constraint=False)
    data = models.JSONField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["merchant", "-id"], name="webhook_event_merchant_newest")]
        constraints = [
            models.CheckConstraint(
                condition=Q(journal__isnull=False, data__isnull=True) | Q(journal=None, data__isnull=False),
                name="webhook_event_has_one_object",
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class WebhookDelivery(models.Model):
    """An event on its way to one endpoint, in the order of `id`."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed", "Failed, not tried again"

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    event = models.ForeignKey(WebhookEvent, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    status = models.CharField(max_length=9, choices=Status.choices, db_default=Status.PENDING)
    tries = models.SmallIntegerField(db_default=0)  # since it was queued last
    due_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "endpoint"], name="webhook_delivery_once")]
        indexes = [
            models.Index(fields=["endpoint", "id"], condition=Q(status="pending"), name="webhook_delivery_pending"),
            # What failed, among the millions that may wait for an endpoint that is down.
            models.Index(
                fields=["endpoint", "id"], condition=Q(status="pending", tries__gt=0), name="webhook_delivery_tried"
            ),
            models.Index(fields=["endpoint", "-id"], name="webhook_delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk}"


class WebhookAttempt(models.Model):
    """A try to deliver: append-only."""

    class Outcome(models.TextChoices):
        DELIVERED = "delivered"
        REFUSED = "refused", "Answered with another status than 2xx"
        REDIRECT = "redirect", "Answered with a redirect, which is not followed"
        GONE = "gone", "Answered 410 Gone"
        TIMEOUT = "timeout", "No answer in time"
        CONNECTION = "connection", "Not reached, or no HTTP answer"
        CERTIFICATE = "certificate", "The certificate is not valid"
        ADDRESS = "address", "The address is not public"

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.PROTECT, related_name="attempts")
    at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=11, choices=Outcome.choices)
    status_code = models.SmallIntegerField(null=True)
    milliseconds = models.IntegerField()
    answer = models.TextField(blank=True, default="")  # the beginning of the body, or the error

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.outcome} {self.at:%Y-%m-%d %H:%M:%S}"


class WebhookWatermark(models.Model):
    """The event of the journal up to which all are announced: one row."""

    event_id = models.BigIntegerField(db_default=0)

    def __str__(self) -> str:
        return str(self.event_id)
