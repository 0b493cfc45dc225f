"""Senders of alerts: one source per Alertmanager, peer or cluster."""

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

DEFAULT_SOURCE = "alertmanager"  # the source of ALERT_TOKEN
# A label of metrics, and part of every delivery.
PLAIN_NAME = r"\A[a-z0-9][a-z0-9._-]{0,63}\Z"
is_plain_name = RegexValidator(PLAIN_NAME, "Use small letters, digits, dots, dashes and underscores.")


class Source(models.Model):
    """A source. Name and cluster are fixed by a trigger: deliveries store the name, and replays use the cluster."""

    name = models.CharField(
        max_length=64, unique=True, validators=[is_plain_name], help_text="Name and cluster cannot be changed later."
    )
    cluster = models.CharField(
        max_length=64,
        default="main",
        validators=[is_plain_name],
        help_text="Shared by the peers of one high-availability cluster, whose alerts are counted once.",
    )
    alertmanager_url = models.CharField(
        max_length=255, blank=True, help_text="Its address, to compare fired with received alerts. Empty: not compared."
    )
    prometheus_url = models.CharField(
        max_length=255, blank=True, help_text="The address of its Prometheus. Empty: none."
    )
    heartbeat_alert = models.CharField(max_length=200, default="Watchdog", help_text="The alert that always fires.")
    heartbeat_seconds = models.PositiveIntegerField(
        default=900, help_text="A gap opens when the heartbeat is older than this. 0: no heartbeat is expected."
    )
    is_active = models.BooleanField(default=True, help_text="Tokens of an inactive source are refused.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(name__regex=PLAIN_NAME), name="source_name_plain"),
            models.CheckConstraint(condition=Q(cluster__regex=PLAIN_NAME), name="source_cluster_plain"),
        ]

    def __str__(self) -> str:
        return self.name


class SourceToken(models.Model):
    """A bearer token; only its SHA-256 is stored: it has 256 random bits, so it cannot be guessed.

    Two can be valid at once, so that a token can be replaced without losing an alert.
    """

    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="tokens")
    place = models.PositiveSmallIntegerField(choices=[(1, "first"), (2, "second")])
    prefix = models.CharField(max_length=12, editable=False)
    sha256 = models.BinaryField(max_length=32, editable=False, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(place__in=[1, 2]), name="source_token_place"),
            models.UniqueConstraint(
                fields=["source", "place"], condition=Q(revoked_at=None), name="source_token_two_valid"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…"
