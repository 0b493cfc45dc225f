"""The one table of the project itself: which host counts in which metrics files."""

from django.db import models
from django.db.models.functions import Now


class MetricsEpoch(models.Model):
    """The life of a host's metrics files, announced by the host that holds them (`fintech/telemetry/epochs.py`)."""

    epoch = models.UUIDField(primary_key=True)
    role = models.TextField()
    holder = models.TextField()
    url = models.TextField()  # of the exporter; empty for a command, which has none
    seen_at = models.DateTimeField(db_default=Now())
    # Set when the host has gone for good: its totals are exported from the rows, until it announces itself again.
    retired_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.role} {self.epoch}"
