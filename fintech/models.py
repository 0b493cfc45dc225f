"""The tables of the project itself: hosts and their metrics files, and what releases gave to groups of users."""

from django.contrib.auth.models import Group, Permission
from django.db import models
from django.db.models.functions import Now


class MetricsEpoch(models.Model):
    """The life of a host's metrics files, registered by that host (`fintech/telemetry/host_registry.py`)."""

    epoch = models.UUIDField(primary_key=True)
    role = models.TextField()
    holder = models.TextField()
    url = models.TextField()  # of the exporter; empty for a command, which has none
    seen_at = models.DateTimeField(db_default=Now())
    # Set when the host has gone for good: its totals are exported from the rows, until it announces itself again.
    retired_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.role} {self.epoch}"


class OfferedPermission(models.Model):
    """A permission that a release gave to a group. It is given once: an administrator may remove it."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE)
    permission = models.ForeignKey(Permission, on_delete=models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "permission"], name="permission_offered_once")]

    def __str__(self) -> str:
        return f"{self.group}: {self.permission}"
