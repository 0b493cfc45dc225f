"""Totals of settled events, for the comparison of counters with rows."""

from django.db import models


class WriterTotal(models.Model):
    """The number of a writer's events of a kind, and the sum of their amounts."""

    pk = models.CompositePrimaryKey("writer_id", "kind", "currency")
    writer_id = models.BigIntegerField()
    kind = models.CharField(max_length=32)
    currency = models.CharField(max_length=3)
    count = models.BigIntegerField()
    amount = models.DecimalField(max_digits=30, decimal_places=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.writer_id} {self.kind} {self.currency}"


class KpiRollup(WriterTotal):
    """Totals of settled events per writer. `payments/kpis/rollup.py` adds new ones."""


class KpiRetired(WriterTotal):
    """Rows of `KpiRollup` whose host is retired: there, the writer of the epoch GONE has their sums.

    A trigger gives them back when the host returns.
    """


class KpiWatermark(models.Model):
    """The event up to which `KpiRollup` has counted: one row."""

    event_id = models.BigIntegerField(db_default=0)

    def __str__(self) -> str:
        return str(self.event_id)
