"""The inputs of the projection, in the order in which they were used."""

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from alerts_audit.models.deliveries import Delivery

PROJECTED_WITHIN = timedelta(seconds=5)


class Observation(models.Model):
    """An answer of Alertmanager or Prometheus to the worker's poll. Stored if it differs from the previous one."""

    class Kind(models.TextChoices):
        ALERTMANAGER = "alertmanager", "Alertmanager's alerts"
        PROMETHEUS = "prometheus", "Prometheus's ALERTS"
        NOTIFICATIONS = "notifications", "Failed notifications"

    source = models.TextField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    observed_at = models.DateTimeField(db_default=Now())
    body = models.BinaryField()  # canonical JSON
    sha256 = models.BinaryField(verbose_name="SHA-256")

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["source", "kind", "-id"], name="observation_newest")]

    def __str__(self) -> str:
        return f"observation {self.pk}"


class PendingQuerySet(models.QuerySet["Pending"]):
    def late_deliveries(self, now: datetime) -> "PendingQuerySet":
        """Return the deliveries that should be projected by now: an alert that seems to be missing may be in them."""
        return self.filter(kind="delivery", at__lt=now - PROJECTED_WITHIN)


class Pending(models.Model):
    """A delivery or an observation without a number. Triggers insert it in the transaction that stores it.

    So it is found at once however many rows the trail has, and a late commit is never skipped.
    """

    kind = models.CharField(max_length=11)
    ref = models.BigIntegerField()
    at = models.DateTimeField()

    objects = PendingQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "pending"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["kind", "ref"], name="pending_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.ref}"


class Input(models.Model):
    """A step of the projection. Numbers have no holes: the single projector assigns the next one to each input."""

    class Kind(models.TextChoices):
        DELIVERY = "delivery"
        OBSERVATION = "observation"
        TICK = "tick", "Clock tick"

    number = models.BigIntegerField(primary_key=True)
    kind = models.CharField(max_length=11, choices=Kind.choices)
    # No foreign key: archiving deletes the referenced row, and the number stays in the sealed archive.
    delivery = models.ForeignKey(
        Delivery, on_delete=models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="inputs"
    )
    observation = models.ForeignKey(
        Observation, on_delete=models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="inputs"
    )
    at = models.DateTimeField(help_text="Time of receipt, observation or tick: the projection's only clock.")
    # Other data that its effect depends on, at that time: the source's cluster, a tick's settings and the known peers.
    context = models.JSONField(default=dict)

    class Meta:
        ordering = ["-number"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["delivery"], name="input_delivery_once"),
            models.UniqueConstraint(fields=["observation"], name="input_observation_once"),
            models.CheckConstraint(
                condition=Q(kind="delivery", delivery__isnull=False, observation=None)
                | Q(kind="observation", delivery=None, observation__isnull=False)
                | Q(kind="tick", delivery=None, observation=None),
                name="input_refers_to_its_kind",
            ),
        ]

    def __str__(self) -> str:
        return f"input {self.number}"
