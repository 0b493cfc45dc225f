"""Operations that are not final, and the leases of the processes that work on them."""

import uuid
from collections.abc import Collection, Iterable
from datetime import timedelta

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now


class UnresolvedQuerySet(models.QuerySet["Unresolved"]):
    def lease_seconds(self, resource_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, float]:
        """Return the remaining seconds of first leases that still run, by the database's clock."""
        held = self.filter(resource_id__in=resource_ids, attempts=0, lease_until__gt=Now())
        remaining = held.annotate(remaining=F("lease_until") - Now()).values_list("resource_id", "remaining")
        return {resource_id: time.total_seconds() for resource_id, time in remaining}

    def release(self, leases: Iterable[tuple[uuid.UUID, uuid.UUID]], *, seconds: float = 0) -> None:
        """Release (resource, token) leases that are still ours; the resolver may acquire them after `seconds`."""
        held = dict(leases)
        ours = self.filter(resource_id__in=held, lease_token__in=held.values())  # no two leases share a token
        ours.update(lease_token=None, lease_until=Now() + timedelta(seconds=seconds))


class Unresolved(models.Model):
    """An operation that is not final. Only the holder of `lease_token` may settle it while the lease runs."""

    resource_id = models.UUIDField(primary_key=True)  # the id of the transaction, refund, capture or void
    transaction_id = models.UUIDField()
    refund_id = models.UUIDField(null=True)
    capture_id = models.UUIDField(null=True)
    void_id = models.UUIDField(null=True)
    operation = models.GeneratedField(
        expression=Case(
            When(Q(refund_id__isnull=False), then=Value("refund")),
            When(Q(capture_id__isnull=False), then=Value("capture")),
            When(Q(void_id__isnull=False), then=Value("void")),
            default=Value("charge"),
        ),
        output_field=models.CharField(max_length=16),
        db_persist=True,
    )
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField()
    attempts = models.IntegerField(db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    objects = UnresolvedQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.resource_id)
