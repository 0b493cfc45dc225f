"""Payments: the requests and their outcomes."""

import uuid
from collections.abc import Iterable

from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now

from payments.models.authentications import Authentication
from payments.models.authorizations import Authorization
from payments.models.journal import Event
from payments.models.merchants import Merchant
from payments.models.operations import by_gateway_key
from payments.models.unresolved import Unresolved
from payments.states import AUTHORIZATION, HOLDING, ChargeStatus


class TransactionQuerySet(models.QuerySet["Transaction"]):
    """Reads for the API, through the index (merchant, id). Ids are UUID v7, so the newest are the largest."""

    def for_merchant(self, merchant_id: int) -> "TransactionQuerySet":
        return self.filter(merchant_id=merchant_id)

    def with_status(
        self,
        status: str,
        *,
        before: uuid.UUID | None = None,
        lowest: uuid.UUID | None = None,
        is_archived: bool = False,
    ) -> "TransactionQuerySet":
        """Filter through the journal's index (kind, transaction): an index on `status` would prevent HOT updates.

        Pass `before` if the list continues below an id; otherwise the index is read from its newest entry. Pass
        `lowest` if the list ends at an id. If the journal is archived, examine the payments themselves.
        """
        if status in Transaction.OPEN:
            return self.filter(status=status, id__in=Unresolved.objects.filter(refund_id=None).values("transaction_id"))
        if status == ChargeStatus.REQUIRES_ACTION:
            waiting = Authentication.objects.filter(outcome=None)
            return self.filter(status=status, id__in=waiting.values("transaction_id"))
        if status in AUTHORIZATION.held:
            return self.filter(status=status, id__in=Authorization.objects.values("transaction_id"))
        if is_archived:
            return self.filter(status=status)
        events = Event.objects.filter(kind=status)
        if before is not None:
            events = events.filter(transaction_id__lt=before)
        if lowest is not None:
            events = events.filter(transaction_id__gte=lowest)
        return self.filter(id__in=events.values("transaction_id"))


# The statuses of a payment that the bank approved.
APPROVED = (*HOLDING, ChargeStatus.SUCCEEDED.value, ChargeStatus.VOIDED.value)


class Transaction(models.Model):
    """One payment: requested once, final once."""

    Status = ChargeStatus

    class Review(models.TextChoices):
        CAPTURE = "capture", "Captured if accepted"
        HOLD = "hold", "Authorized if accepted"

    OPEN, FINAL = AUTHORIZATION.open, AUTHORIZATION.final

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No constraint and no index of its own: a foreign key would lock the merchant's row for every payment, and
    # a merchant can't be deleted (grants and trigger). The index (merchant, id) serves the lists.
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    idempotency_key = models.TextField()
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=16, choices=Status.choices)
    amount_reserved = models.BigIntegerField(db_default=0)  # by refunds that succeeded or still can
    amount_refunded = models.BigIntegerField(db_default=0)  # by refunds that succeeded
    fee = models.BigIntegerField(db_default=0)
    # With `"capture": false`: what its captures took, and the time after which the rest is released.
    manual_capture = models.BooleanField(db_default=False)
    manually_captured = models.BigIntegerField(db_default=0)
    capture_before = models.DateTimeField(null=True)
    # Set if an operator must decide about it: what it was asked to be. It is authorized at the gateway in both cases.
    review = models.CharField(max_length=7, choices=Review.choices, null=True)
    # The merchant's rate when the payment was created: a later change does not apply to it.
    fee_basis_points = models.PositiveSmallIntegerField()
    # The gateway that was asked to charge, and the key that it knows the charge by.
    gateway = models.TextField(db_default="simulator")
    gateway_key = models.UUIDField()
    fraud_score = models.FloatField(null=True)  # NULL: not scored
    fraud_reasons = models.JSONField(default=list)
    failure_code = models.TextField(null=True)
    gateway_reference = models.TextField(null=True)
    customer = models.TextField(null=True)
    reference = models.TextField(null=True)
    description = models.TextField(null=True)
    payment_method = models.JSONField(null=True)
    metadata = models.JSONField(default=dict)
    request_id = models.TextField(null=True)
    return_url = models.TextField(null=True)  # NULL: the customer cannot be challenged
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)

    objects = TransactionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["merchant", "-id"], name="transaction_merchant_newest"),
            by_gateway_key("transaction_by_gateway_key", "uuid_bloom_ops(n_distinct_per_range=400)", pages=32),
        ]
        permissions = [
            ("refund_transaction", "Can refund a transaction"),
            ("capture_transaction", "Can capture an authorized transaction"),
            ("void_transaction", "Can void an authorized transaction"),
            ("resolve_transaction", "Can request to resolve a transaction now"),
            ("review_transaction", "Can accept and refuse a transaction in review"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="transaction_amount_positive"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="transaction_currency_is_iso_4217"),
            models.CheckConstraint(
                condition=Q(fee_basis_points__lte=10_000), name="transaction_fee_rate_at_most_the_amount"
            ),
            models.CheckConstraint(
                condition=Q(fraud_score=None) | Q(fraud_score__gte=0, fraud_score__lte=1),
                name="transaction_fraud_score_is_a_share",
            ),
            # What several columns say together. PostgreSQL reads every other check again for each statement.
            models.CheckConstraint(
                condition=Func(
                    "status",
                    "settled_at",
                    "amount",
                    "amount_reserved",
                    "amount_refunded",
                    "fee",
                    "fee_basis_points",
                    "manual_capture",
                    "manually_captured",
                    "capture_before",
                    "review",
                    function="payments_is_consistent",
                    output_field=models.BooleanField(),
                ),
                name="transaction_is_consistent",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_final(self) -> bool:
        return self.status in self.FINAL

    @property
    def capture(self) -> bool:
        """Return the field of the request."""
        return not self.manual_capture or self.review == self.Review.CAPTURE

    @property
    def customer_authentication(self) -> Authentication | None:
        """Return the challenge or the result of the authentication, if there is one. One query, unless loaded."""
        return getattr(self, "authentication", None)

    @property
    def amount_authorized(self) -> int:
        """Return the amount that the bank approved, also if it was released or captured since."""
        return self.amount if self.status in APPROVED else 0

    @property
    def amount_captured(self) -> int:
        if self.manual_capture:
            return self.manually_captured
        return self.amount if self.status == ChargeStatus.SUCCEEDED else 0


def load_authentications(payments: Iterable[Transaction]) -> None:
    """Read the authentications of all payments that can have one, with one query."""
    asked = [payment for payment in payments if payment.return_url is not None]
    if asked:
        models.prefetch_related_objects(asked, "authentication")
