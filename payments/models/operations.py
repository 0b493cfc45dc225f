"""The operations that follow a payment."""

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.states import CaptureStatus, Lifecycle, RefundStatus, VoidStatus

if TYPE_CHECKING:
    from payments.models.transactions import Transaction


def by_gateway_key(
    name: str = "%(class)s_gateway_key", opclass: str = "uuid_bloom_ops", *, pages: int | None = None
) -> BrinIndex:
    """Return an index for the rare search by the gateway's key: a bloom filter for each range of pages.

    The keys are random: a B-tree would write another page for each payment. A range gets its filter once it is full.
    A row that later reuses the space of a dead one writes the filter again. So payments have small filters, which
    PostgreSQL does not compress (up to about 500 bytes).
    """
    return BrinIndex(fields=["gateway_key"], opclasses=[opclass], pages_per_range=pages, autosummarize=True, name=name)


def constraints_of(lifecycle: Lifecycle) -> list[models.BaseConstraint]:
    """Return the constraints that all operations of a payment have."""
    name = lifecycle.operation
    is_open = Q(status__in=lifecycle.open, settled_at=None)
    is_final = Q(status__in=lifecycle.final, settled_at__isnull=False)
    return [
        models.CheckConstraint(condition=Q(amount__gt=0), name=f"{name}_amount_positive"),
        models.CheckConstraint(condition=is_open | is_final, name=f"{name}_settled_exactly_if_final"),
    ]


class FollowingOperation(models.Model):
    """The common fields of the operations that follow a payment: refund, capture and void."""

    LIFECYCLE: ClassVar[Lifecycle]
    Status: ClassVar[type[CaptureStatus | RefundStatus | VoidStatus]]
    transaction: "models.ForeignKey[Transaction, Transaction]"
    transaction_id: uuid.UUID
    status: "models.CharField[str, str]"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    amount = models.BigIntegerField()
    gateway_key = models.UUIDField()  # the gateway knows the operation by it
    failure_code = models.TextField(null=True)
    gateway_reference = models.TextField(null=True)
    request_id = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering = ["-id"]
        indexes = [by_gateway_key()]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_final(self) -> bool:
        return self.status in self.LIFECYCLE.final

    @property
    def references(self) -> dict[str, uuid.UUID]:
        """Return the columns of its events and of its lease that name it."""
        return {"transaction_id": self.transaction_id, f"{self.LIFECYCLE.operation}_id": self.id}
