"""Archives: files that hold rows dropped from the database, and what the books carry forward from them."""

from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from fintech.evidence import seal_rows


class ArchiveQuerySet(models.QuerySet["Archive"]):
    def holding(self, payment: UUID) -> "ArchiveQuerySet":
        """Return the archives whose files have rows of a payment that were dropped, oldest first."""
        parts = ArchivedPart.objects.filter(
            last_payment__gte=payment, first_payment__lte=payment, payments__contains=[payment]
        )
        return self.filter(id__in=parts.values("archive_id")).order_by("id")


class ArchivedPartQuerySet(models.QuerySet["ArchivedPart"]):
    def boundary(self) -> UUID | None:
        """Return the id below which payments may be archived, and the journal knows only some; None without any."""
        newest = self.order_by("-last_payment").values_list("last_payment", flat=True).first()
        return UUID(int=newest.int + 1) if newest else None


class Archive(models.Model):
    """A file that was written and read again: `payments/archive/`. Its parts say how much of it is dropped."""

    before = models.DateTimeField(help_text="Everything in it happened before then.")
    last_event = models.BigIntegerField(help_text="The journal's event up to which it was selected.")
    payments = models.BigIntegerField()
    file_name = models.TextField(unique=True)
    file_sha256 = models.BinaryField()
    contents = models.JSONField(help_text="The last line of the file: its counts and sums.")
    by = models.TextField()
    at = models.DateTimeField(db_default=Now())

    objects = ArchiveQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "payments archive"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"archive {self.pk}"

    @property
    def sha256(self) -> str:
        return bytes(self.file_sha256).hex()


# The file is the only evidence of its rows, so what it must be is sealed outside the database.
seal_rows(
    Archive,
    "payments_archive",
    "id before last_event payments file_name file_sha256 contents by at",
    json=frozenset({"contents"}),
)


class ArchivedPart(models.Model):
    """A part of an archive's file whose rows are dropped: written by the transaction that drops them.

    A trigger refuses to delete rows of any payment that is not in `payments`.
    """

    archive = models.ForeignKey(Archive, on_delete=models.PROTECT, related_name="parts", db_index=False)
    number = models.IntegerField()  # its place in the file
    first_payment = models.UUIDField()
    last_payment = models.UUIDField()
    payments = ArrayField(models.UUIDField())
    operations = ArrayField(models.UUIDField())  # their captures, voids, refunds and disputes

    objects = ArchivedPartQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        default_permissions = ()
        indexes = [models.Index(fields=["-last_payment", "first_payment"], name="archived_part_payments")]
        constraints = [
            models.UniqueConstraint(fields=["archive", "number"], name="archived_part_once"),
            models.CheckConstraint(condition=Q(first_payment__lte=F("last_payment")), name="archived_part_in_order"),
        ]

    def __str__(self) -> str:
        return f"part {self.number} of archive {self.archive_id}"


class ArchivedTotal(models.Model):
    """A sum that the books carry forward: the number of dropped events, or the number and sum of dropped legs."""

    pk = models.CompositePrimaryKey("archive_id", "merchant_id", "gateway", "kind", "account", "currency")
    archive_id = models.BigIntegerField()
    merchant_id = models.BigIntegerField()
    gateway = models.TextField()
    kind = models.CharField(max_length=32)
    account = models.CharField(max_length=16)  # empty: events
    currency = models.CharField(max_length=3)
    count = models.BigIntegerField()
    amount = models.DecimalField(max_digits=30, decimal_places=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.account} {self.amount} {self.currency}"
