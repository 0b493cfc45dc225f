"""Deliveries from Alertmanager, stored as evidence.

A delivery is the body of one `POST /alert`, byte for byte, with its hash. It is committed before it is parsed, so an
unreadable body is stored too, and it never changes: triggers and the database role refuse that
(`fintech/database/append_only.py`).
"""

from django.db import models
from django.db.models.functions import Now
from django.db.models.lookups import Exact, GreaterThanOrEqual, LessThan

# Lists show bodies above this size without parsing them.
READABLE_IN_LISTS = 64 * 1024


class OctetLength(models.Func):
    function = "octet_length"
    arity = 1
    output_field = models.IntegerField()


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def for_list(self) -> "DeliveryQuerySet":
        """Omit the bodies, which may have 16 MiB each; small ones are included as `small_body`."""
        small_body = models.Case(
            models.When(size__lte=READABLE_IN_LISTS, then="body"), output_field=models.BinaryField()
        )
        return self.defer("body").annotate(small_body=small_body)


class Delivery(models.Model):
    received_at = models.DateTimeField(db_default=Now(), editable=False)  # the database's clock
    source = models.TextField(help_text="The source of the token.")
    content_type = models.TextField(null=True)
    content_encoding = models.TextField(null=True, help_text="A compressed body is stored unchanged.")
    body = models.BinaryField()
    sha256 = models.BinaryField(verbose_name="SHA-256", help_text="Hash of the whole body.")
    size = models.BigIntegerField(help_text="Size of the whole body in bytes.")
    # A body above the limit is stored in part; then this is the hash of that part.
    kept_sha256 = models.BinaryField(null=True, verbose_name="SHA-256 of the stored part")
    request_id = models.TextField(null=True)
    trace_id = models.TextField(null=True, help_text="From the sender's W3C traceparent.")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["-id"], condition=models.Q(kept_sha256__isnull=False), name="delivery_partial")]
        constraints = [
            models.CheckConstraint(condition=Exact(OctetLength("sha256"), 32), name="delivery_sha256_length"),
            models.CheckConstraint(
                condition=GreaterThanOrEqual(models.F("size"), OctetLength("body")), name="delivery_size"
            ),
            models.CheckConstraint(
                condition=models.Q(Exact(OctetLength("body"), models.F("size")), kept_sha256=None)
                | models.Q(Exact(OctetLength("kept_sha256"), 32), LessThan(OctetLength("body"), models.F("size"))),
                name="delivery_whole_or_part",
            ),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk}"

    @property
    def complete(self) -> bool:
        return self.kept_sha256 is None
