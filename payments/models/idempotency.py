"""Idempotency keys."""

from django.db import models

KEY_KINDS = ("payment", "refund", "capture", "void", "review")


class IdempotencyKey(models.Model):
    """A merchant's key, used once, for one operation. Keys do not expire yet."""

    pk = models.CompositePrimaryKey("merchant_id", "key")
    merchant_id = models.BigIntegerField()
    key = models.TextField()
    resource_id = models.UUIDField()
    kind = models.CharField(max_length=7, choices=[(kind, kind.capitalize()) for kind in KEY_KINDS])

    def __str__(self) -> str:
        return self.key
