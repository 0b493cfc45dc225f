"""Totals of settled events, for the comparison of counters with rows."""

from django.db import models


class KpiRollup(models.Model):
    """Totals of settled events per writer. `payments/kpis/rollup.py` adds new ones."""

    pk = models.CompositePrimaryKey("writer_id", "kind", "currency")
    writer_id = models.BigIntegerField()
    kind = models.CharField(max_length=32)
    currency = models.CharField(max_length=3)
    count = models.BigIntegerField()
    amount = models.DecimalField(max_digits=30, decimal_places=0)

    def __str__(self) -> str:
        return f"{self.writer_id} {self.kind} {self.currency}"


class KpiWatermark(models.Model):
    """The event up to which `KpiRollup` has counted: one row."""

    event_id = models.BigIntegerField(db_default=0)

    def __str__(self) -> str:
        return str(self.event_id)
