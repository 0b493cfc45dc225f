"""The operations that follow a payment."""

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models.functions import Now

if TYPE_CHECKING:
    from payments.models.transactions import Transaction


class FollowingOperation(models.Model):
    """The common fields of the operations that follow a payment: refund, capture and void."""

    FINAL: ClassVar[list[str]]
    transaction: "models.ForeignKey[Transaction, Transaction]"
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

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_final(self) -> bool:
        return self.status in self.FINAL
