"""The append-only journal of events, and the processes that write it."""

from django.db import models
from django.db.models.functions import Now


class Writer(models.Model):
    """One run of a process that settles payments. `slot` names its metrics files, `epoch` their beginning."""

    slot = models.TextField()
    epoch = models.UUIDField()
    started_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["epoch", "slot"], name="writer_of_slot")]

    def __str__(self) -> str:
        return f"{self.slot} #{self.pk}"


class Event(models.Model):
    """An entry of the append-only journal: each change of a transaction or refund, with time and actor."""

    # A trigger checks the references of events and legs once per statement: a foreign key costs each row a query.
    transaction = models.ForeignKey(
        "Transaction", on_delete=models.PROTECT, related_name="events", db_index=False, db_constraint=False
    )
    refund_id = models.UUIDField(null=True)
    capture_id = models.UUIDField(null=True)
    void_id = models.UUIDField(null=True)
    dispute_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=32)  # a status, after the event prefix of its lifecycle
    at = models.DateTimeField(db_default=Now())
    actor = models.TextField()  # api, resolver, or admin:<user name>
    # The process whose counters include this event; NULL if none does. A foreign key would cost every payment.
    writer = models.ForeignKey(Writer, on_delete=models.PROTECT, null=True, db_constraint=False, db_index=False)
    data = models.JSONField(null=True)  # the gateway exchange and failure codes, never card or personal data

    class Meta:
        ordering = ["id"]
        # Serves lists by status, newest first, and, by PostgreSQL 18's skip scan over the few kinds, the journal of
        # one transaction.
        indexes = [models.Index(fields=["kind", "-transaction"], name="event_kind_transaction")]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M:%S}"
