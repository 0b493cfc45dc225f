"""Velocity rules, and the counters of their sliding windows."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.fraud import FraudListEntry
from payments.models.merchants import Merchant


class VelocityRule(models.Model):
    """A limit on the payments of one customer, token or card country of a merchant in a sliding window.

    What it counts never changes, because its counters would be wrong. Add another rule instead.
    """

    Field = FraudListEntry.Field

    class Measure(models.TextChoices):
        COUNT = "count", "Number of payments"
        SUM = "sum", "Sum of amounts"

    class Outcome(models.TextChoices):
        REVIEW = "review", "Hold for a review"
        BLOCK = "block", "Block"

    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_index=False, related_name="velocity_rules")
    field = models.CharField("per", max_length=8, choices=Field.choices)
    measure = models.CharField(max_length=5, choices=Measure.choices)
    currency = models.CharField(
        max_length=3, null=True, blank=True, help_text="Of a sum, such as EUR: it adds payments in this currency only."
    )
    window_seconds = models.PositiveIntegerField(help_text="From 60 (a minute) to 2592000 (30 days).")
    maximum = models.BigIntegerField(
        help_text="Number of payments, or minor units. A payment beyond it is held or blocked."
    )
    outcome = models.CharField(max_length=6, choices=Outcome.choices)
    is_enabled = models.BooleanField("enabled", default=True)
    note = models.CharField(max_length=255, blank=True, default="", help_text="The reason for this rule.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["merchant", "field", "measure", "currency", "window_seconds", "outcome"],
                name="velocity_rule_once",
                nulls_distinct=False,
                violation_error_message="The merchant has this rule already: change its maximum.",
            ),
            models.CheckConstraint(
                condition=Q(field__in=["customer", "token", "country"]) & Q(outcome__in=["review", "block"]),
                name="velocity_rule_known",
            ),
            models.CheckConstraint(
                condition=Q(measure="count", currency=None)
                | Q(measure="sum", currency__isnull=False, currency__regex=r"^[A-Z]{3}$"),
                name="velocity_rule_sum_has_currency",
                violation_error_message="A sum needs a currency, and a number of payments has none.",
            ),
            models.CheckConstraint(
                condition=Q(window_seconds__gte=60, window_seconds__lte=2_592_000),
                name="velocity_rule_window_possible",
                violation_error_message="A window is from 60 to 2592000 seconds.",
            ),
            models.CheckConstraint(condition=Q(maximum__gte=0), name="velocity_rule_maximum_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.get_measure_display()} per {self.field} in {self.window_seconds} s: {self.maximum}"


class VelocityCounter(models.Model):
    """The payments of one value in the window of a rule: `slots`, the newest first.

    Written by `storage/velocity_sql.py`; deleted once its window is over. No foreign key, because it would
    lock the rule's row for every payment.
    """

    pk = models.CompositePrimaryKey("rule_id", "value")
    rule_id = models.BigIntegerField()
    value = models.TextField()
    newest = models.BigIntegerField()  # the number of the first slot
    slots = ArrayField(models.BigIntegerField())

    def __str__(self) -> str:
        return f"{self.rule_id} {self.value}"
