"""The append-only double-entry ledger."""

from django.db import models
from django.db.models import Q

from payments.models.journal import Event
from payments.models.transactions import Transaction


class LedgerLeg(models.Model):
    """One leg of a posting: debits are positive, credits negative. The accounts are in `docs/ledger.md`."""

    class Account(models.TextChoices):
        GATEWAY_CLEARING = "gateway_clearing", "Gateway clearing (owed to us by the acquirer)"
        MERCHANT_PAYABLE = "merchant_payable", "Merchant payable (owed by us to the merchant)"
        FEES = "fees", "Fees (earned by us)"
        REFUNDS = "refunds", "Refunds (owed back by the merchant)"
        DISPUTES_HELD = "disputes_held", "Disputes held (held back by the acquirer)"
        DISPUTES_LOST = "disputes_lost", "Disputes lost (owed back by the merchant)"

    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="legs", db_index=False, db_constraint=False)
    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="legs", db_constraint=False)
    account = models.CharField(max_length=16, choices=Account.choices)
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    account__in=[
                        "gateway_clearing",
                        "merchant_payable",
                        "fees",
                        "refunds",
                        "disputes_held",
                        "disputes_lost",
                    ]
                ),
                name="leg_account_known",
            ),
            models.CheckConstraint(condition=~Q(amount=0), name="leg_amount_not_zero"),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.amount} {self.currency}"
