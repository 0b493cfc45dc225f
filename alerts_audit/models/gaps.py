"""Gaps: missing alerts and their reasons."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class GapQuerySet(models.QuerySet["Gap"]):
    def open(self) -> "GapQuerySet":
        return self.filter(still_open__isnull=False)


class Gap(models.Model):
    """A gap. Append-only: closing one inserts a second row that references it."""

    class Reason(models.TextChoices):
        OUTAGE = "outage", "Fired and never arrived"
        INHIBITED = "inhibited", "Inhibited by another alert"
        SILENCED = "silenced", "Silenced"
        TRUNCATED = "truncated", "Cut off from a delivery"
        UNAUTHORIZED = "unauthorized", "Refused because of its token"
        HEARTBEAT = "heartbeat", "The heartbeat is missing"
        NOTIFICATIONS = "notifications", "Alertmanager could not deliver"

    closes = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="closed_by")
    reason = models.CharField(max_length=13, choices=Reason.choices)
    # The subject, such as a cluster, labels and a start: while a gap is open, no second one opens for the same subject.
    subject = models.TextField()
    source = models.TextField(null=True)
    labels = models.JSONField(null=True)
    since = models.DateTimeField(help_text="Start of the gap.")
    until = models.DateTimeField(null=True, help_text="End of the gap, in the row that closes it.")
    details = models.JSONField(default=dict)
    delivery_id = models.BigIntegerField(null=True)
    observation_id = models.BigIntegerField(null=True)
    at = models.DateTimeField(db_default=Now())

    objects = GapQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["reason", "subject"], name="gap_subject")]
        constraints = [
            models.CheckConstraint(condition=Q(closes=None) | Q(until__isnull=False), name="gap_closed_until")
        ]

    def __str__(self) -> str:
        return f"gap {self.pk}: {self.reason}"


class OpenGap(models.Model):
    """The open gaps, so that a million closed ones cost nothing. Only `gaps.py` writes it; `Gap` decides.

    The constraint prevents two processes from opening the same gap twice.
    """

    gap = models.OneToOneField(
        Gap, on_delete=models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="still_open"
    )
    reason = models.CharField(max_length=13, choices=Gap.Reason.choices)
    subject = models.TextField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["reason", "subject"], name="open_gap_once")]

    def __str__(self) -> str:
        return f"open gap {self.pk}"


class Poll(models.Model):
    """The last successful poll of a source: the next range begins there, also after a restart."""

    source = models.TextField()
    kind = models.CharField(max_length=16)
    until = models.DateTimeField(help_text="Everything before this time was polled.")
    state = models.JSONField(default=dict, help_text="State of the poll, such as a counter's value.")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["source", "kind"], name="poll_once")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.source}"


class Notice(models.Model):
    """A direct message about a gap that was sent."""

    gap = models.OneToOneField(
        Gap, on_delete=models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="notice"
    )
    sent_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"notice of gap {self.pk}"
