"""The projection of the inputs. It can be dropped and rebuilt from them, with identical results.

Only the projector writes it (`alerts_audit/projection/`). Keys come from the replay, so a rebuild finds them again.
"""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q

from alerts_audit.models.deliveries import Delivery

MAX_ALERTNAMES = 20  # of one envelope


class Envelope(models.Model):
    """A parsed delivery. A delivery that cannot be parsed is quarantined: it has an `error` and nothing else."""

    delivery = models.OneToOneField(
        Delivery, on_delete=models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="envelope"
    )
    input_number = models.BigIntegerField(unique=True)
    error = models.TextField(null=True, help_text="The reason why it cannot be parsed.")
    repaired = models.TextField(null=True, help_text="The replaced values.")
    version = models.TextField(null=True)
    receiver = models.TextField(null=True)
    status = models.TextField(null=True)
    group_key = models.TextField(null=True)
    external_url = models.TextField(null=True)
    notification_reason = models.TextField(null=True)
    alerts = models.IntegerField(default=0)
    truncated = models.IntegerField(default=0, help_text="Alerts that Alertmanager cut off (max_alerts).")
    alertnames = models.JSONField(default=list)

    class Meta:
        ordering = ["-delivery_id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["-delivery"], condition=Q(error__isnull=False), name="envelope_quarantined")]

    def __str__(self) -> str:
        return f"envelope of delivery {self.pk}"


class Identity(models.Model):
    """A set of labels in one cluster. Alertmanager's fingerprint is a 64-bit index, not an identity."""

    id = models.BigIntegerField(primary_key=True)
    sha256 = models.BinaryField(unique=True, help_text="Hash of the cluster and the labels in canonical JSON.")
    cluster = models.TextField()
    labels = models.JSONField()
    alertname = models.TextField()
    severity = models.TextField()
    fingerprint = models.TextField()

    class Meta:
        verbose_name_plural = "identities"
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [
            GinIndex(fields=["labels"], opclasses=["jsonb_path_ops"], name="identity_labels"),
            models.Index(fields=["alertname"], name="identity_alertname"),
            models.Index(fields=["severity"], name="identity_severity"),
            models.Index(fields=["cluster"], name="identity_cluster"),
        ]

    def __str__(self) -> str:
        return self.alertname


class Episode(models.Model):
    """One alert from firing to its end."""

    class State(models.TextChoices):
        FIRING = "firing"
        RESOLVED = "resolved"
        SUPERSEDED = "superseded", "Superseded: it started again before its end was reported"
        STALE = "stale", "Stale: no further updates"
        UNKNOWN = "unknown", "Unknown: it ended without a report"

    id = models.BigIntegerField(primary_key=True)  # dense, in the order in which episodes were opened
    key = models.UUIDField(unique=True, help_text="Derived from the identity and the input that opened it.")
    identity = models.ForeignKey(
        Identity, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="episodes"
    )
    state = models.CharField(max_length=10, choices=State.choices)
    alertname = models.TextField()
    severity = models.TextField()
    summary = models.TextField()
    annotations = models.JSONField(default=dict)
    generator_url = models.TextField()
    starts_at = models.DateTimeField(help_text="The earliest reported start.")
    ends_at = models.DateTimeField(null=True, help_text="The reported end.")
    opened_at = models.DateTimeField(help_text="Time of the first report.")
    closed_at = models.DateTimeField(null=True, help_text="Time at which its end became known.")
    last_seen_at = models.DateTimeField()
    opened_input = models.BigIntegerField()
    last_input = models.BigIntegerField()
    deliveries = models.IntegerField(default=1, help_text="Number of deliveries that reported it.")
    # The state machine's memory of each source, such as which peer has reported "resolved".
    memory = models.JSONField(default=dict)

    class Meta:
        verbose_name = "alert"  # for people: the trail has one row for each alert from firing to its end
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["identity", "-id"], name="episode_of_identity"),
            models.Index(fields=["state", "-id"], name="episode_state"),
            models.Index(fields=["severity", "-id"], name="episode_severity"),
            models.Index(fields=["alertname", "-id"], name="episode_alertname"),
            models.Index(fields=["opened_at"], name="episode_opened_at"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["identity"], condition=Q(state="firing"), name="episode_one_open"),
            models.CheckConstraint(
                condition=Q(state="firing", closed_at=None) | (~Q(state="firing") & Q(closed_at__isnull=False)),
                name="episode_closed_exactly_if_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alertname} #{self.pk}"


class Transition(models.Model):
    """A change of an episode's state, and the input that caused it."""

    id = models.BigIntegerField(primary_key=True)
    episode = models.ForeignKey(Episode, on_delete=models.DO_NOTHING, db_constraint=False, related_name="transitions")
    input_number = models.BigIntegerField()
    from_state = models.CharField(max_length=10, null=True)  # NULL: the episode began
    to_state = models.CharField(max_length=10)
    at = models.DateTimeField()
    source = models.TextField(null=True)
    delivery = models.ForeignKey(Delivery, on_delete=models.DO_NOTHING, null=True, db_constraint=False, db_index=False)
    note = models.TextField(null=True)

    class Meta:
        ordering = ["id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.from_state} -> {self.to_state}"
