"""Declined payments that are refused for a time if they come again."""

from django.db import models


class RefusedRetry(models.Model):
    """A declined payment, and the time before which it is refused again: see `services/refused_retries.py`."""

    pk = models.CompositePrimaryKey("merchant_id", "method", "amount", "currency")
    merchant_id = models.BigIntegerField()
    method = models.TextField()  # token:<payment token>, or customer:<customer> without one
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    failure_code = models.TextField()
    until = models.DateTimeField()

    class Meta:
        verbose_name_plural = "refused retries"

    def __str__(self) -> str:
        return f"{self.failure_code} until {self.until:%Y-%m-%d %H:%M:%S}"
