"""The fraud lists of a merchant, and the changes of its fraud settings."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.merchants import Merchant


class FraudListEntry(models.Model):
    """A value that blocks or allows all payments of a merchant that have it. Added and removed, never changed."""

    class List(models.TextChoices):
        BLOCK = "block", "Block list"
        ALLOW = "allow", "Allow list"

    class Field(models.TextChoices):
        CUSTOMER = "customer", "Customer"
        TOKEN = "token", "Payment token"
        COUNTRY = "country", "Card country"

    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_index=False, related_name="fraud_entries")
    list = models.CharField(max_length=5, choices=List.choices)
    field = models.CharField(max_length=8, choices=Field.choices)
    value = models.CharField(max_length=255, help_text="Exactly as payments have it. A country is two letters, as DE.")
    note = models.CharField(max_length=255, blank=True, default="", help_text="The reason for this entry.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "fraud list entries"
        constraints = [
            models.UniqueConstraint(
                fields=["merchant", "field", "value"],
                name="fraud_entry_once",
                violation_error_message="This value is on a list of this merchant already.",
            ),
            models.CheckConstraint(condition=Q(list__in=["block", "allow"]), name="fraud_entry_list_known"),
            models.CheckConstraint(
                condition=Q(field__in=["customer", "token"]) & ~Q(value="")
                | Q(field="country", value__regex=r"^[A-Z]{2}$"),
                name="fraud_entry_value_possible",
                violation_error_message="A country is two letters of ISO 3166, such as DE.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_list_display()}: {self.field} {self.value}"


class FraudChange(models.Model):
    """One change of a fraud setting, or an entry or rule that was added (no `before`) or removed (no `after`)."""

    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_index=False)
    at = models.DateTimeField(db_default=Now())
    actor = models.TextField()  # admin:<user name>, or database:<role> for a change outside of the admin
    subject = models.TextField()  # a column of the merchant, block_list, allow_list or velocity_rule
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["merchant", "-id"], name="fraud_change_merchant_newest")]

    def __str__(self) -> str:
        return f"{self.subject} {self.at:%Y-%m-%d %H:%M:%S}"
