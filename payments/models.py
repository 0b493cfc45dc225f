"""The data of payments.

Merchant -> ApiKey          the clients of the API
Merchant -> FraudListEntry  values that its block list or allow list contains
FraudChange                 append-only: each change of a merchant's fraud settings and lists, made by triggers
Transaction -> Refund       requests and their outcomes; amounts are integers in minor units
Transaction -> Dispute      a cardholder's objection, and the merchant's DisputeResponses
Transaction -> Capture, Void, and Authorization, the money that is still held, if it is captured later
IdempotencyKey              one row per merchant and key, for all operations
Unresolved                  operations that are not final, each with the lease of the process that works on it
Event                       append-only journal: one row for every change of state
LedgerLeg                   append-only double-entry ledger: the legs of one event sum to zero per currency
Writer, KpiRollup           the process that committed each event, so that its counters can be set from the rows
GatewayEvent                an event from the gateway, as it came, and what became of it
WebhookEndpoint             a merchant's address for events, with its WebhookSecrets
WebhookEvent                append-only: one announcement for each event of the journal, made by the worker
WebhookDelivery             an announcement on its way to one endpoint; WebhookAttempt notes each try

The database refuses invalid data: see the constraints here and the triggers in `migrations/`. Writes are in
`services/` and `settlement/`; this file holds data and reads.
"""

import uuid
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from payments.states import (
    AUTHORIZATION,
    CAPTURE,
    CHARGE,
    DISPUTE,
    DISPUTE_RESPONSES,
    REFUND,
    VOID,
    CaptureStatus,
    ChargeStatus,
    DisputeStatus,
    RefundStatus,
    VoidStatus,
)

KEY_KINDS = ("payment", "refund", "capture", "void")


class Merchant(models.Model):
    """A seller. Never deleted: payments refer to it without a foreign key (see `Transaction.merchant`)."""

    name = models.CharField(max_length=200, unique=True)
    country = models.CharField(max_length=2, help_text="ISO 3166 code of the merchant's country, such as DE.")
    is_active = models.BooleanField(
        default=True, help_text="An inactive merchant's keys are refused within five seconds."
    )
    fraud_threshold = models.FloatField(
        default=0.8,
        help_text="Payments with this score or more are blocked. 0 blocks all, 1 almost none.",
    )
    fraud_weights = models.JSONField(
        default=dict,
        blank=True,
        help_text='Weights that replace those of payments/fraud.py, such as {"country_mismatch": 0.4}.',
    )
    unscored_limit_minor = models.BigIntegerField(
        default=50_00,
        help_text="A payment that cannot be scored is accepted below this amount and blocked from this amount on.",
    )
    fee_basis_points = models.PositiveIntegerField(
        default=150,
        help_text="Our fee in hundredths of a percent of the amount: 150 is 1.5 %. Applies to new payments.",
    )
    # Part of each gateway key (`payments/gateway/keys.py`): ids repeat when a database is created again, this does not.
    gateway_namespace = models.UUIDField(db_default=RandomUUID(), editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(fraud_threshold__gte=0, fraud_threshold__lte=1),
                name="merchant_threshold_is_a_share",
            ),
            models.CheckConstraint(condition=Q(fee_basis_points__lte=10_000), name="merchant_fee_at_most_the_amount"),
            models.CheckConstraint(condition=Q(unscored_limit_minor__gte=0), name="merchant_limit_not_negative"),
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A merchant's secret. The SHA-256 is stored: the secret has 256 random bits, so a search is hopeless, and a slow
    hash would only delay payments.
    """

    class Scope(models.TextChoices):
        READ = "payments:read", "Read payments"
        WRITE = "payments:write", "Make payments"
        REFUND = "refunds:write", "Refund payments"
        WEBHOOKS = "webhooks:write", "Manage webhook endpoints"

    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=100, help_text="The program that uses this key, such as 'shop checkout'.")
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    secret_sha256 = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=32, choices=Scope.choices), default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


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
    """One change of a fraud setting, or an entry that was added (no `before`) or removed (no `after`)."""

    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_index=False)
    at = models.DateTimeField(db_default=Now())
    actor = models.TextField()  # admin:<user name>, or database:<role> for a change outside of the admin
    subject = models.TextField()  # a column of the merchant, or block_list or allow_list
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["merchant", "-id"], name="fraud_change_merchant_newest")]

    def __str__(self) -> str:
        return f"{self.subject} {self.at:%Y-%m-%d %H:%M:%S}"


class TransactionQuerySet(models.QuerySet["Transaction"]):
    """Reads for the API, through the index (merchant, id). Ids are UUID v7, so the newest are the largest."""

    def for_merchant(self, merchant_id: int) -> "TransactionQuerySet":
        return self.filter(merchant_id=merchant_id)

    def with_status(
        self, status: str, *, before: uuid.UUID | None = None, lowest: uuid.UUID | None = None
    ) -> "TransactionQuerySet":
        """Filter through the journal's index (kind, transaction): an index on `status` would prevent HOT updates.

        Pass `before` if the list continues below an id; otherwise the index is read from its newest entry. Pass
        `lowest` if the list ends at an id.
        """
        if status in Transaction.OPEN:
            return self.filter(status=status, id__in=Unresolved.objects.filter(refund_id=None).values("transaction_id"))
        if status in AUTHORIZATION.held:
            return self.filter(status=status, id__in=Authorization.objects.values("transaction_id"))
        events = Event.objects.filter(kind=status)
        if before is not None:
            events = events.filter(transaction_id__lt=before)
        if lowest is not None:
            events = events.filter(transaction_id__gte=lowest)
        return self.filter(id__in=events.values("transaction_id"))


# The statuses of a payment that the bank approved.
APPROVED = (ChargeStatus.AUTHORIZED.value, ChargeStatus.SUCCEEDED.value, ChargeStatus.VOIDED.value)


class Transaction(models.Model):
    """One payment: requested once, final once."""

    Status = ChargeStatus
    OPEN, FINAL = AUTHORIZATION.open, AUTHORIZATION.final

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No constraint and no index of its own: a foreign key would lock the merchant's row for every payment, and
    # a merchant can't be deleted (grants and trigger). The index (merchant, id) serves the lists.
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    idempotency_key = models.TextField()
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=10, choices=Status.choices)
    amount_reserved = models.BigIntegerField(db_default=0)  # by refunds that succeeded or still can
    amount_refunded = models.BigIntegerField(db_default=0)  # by refunds that succeeded
    fee = models.BigIntegerField(db_default=0)
    # With `"capture": false`: what its captures took, and the time after which the rest is released.
    manual_capture = models.BooleanField(db_default=False)
    manually_captured = models.BigIntegerField(db_default=0)
    capture_before = models.DateTimeField(null=True)
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
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)

    objects = TransactionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["merchant", "-id"], name="transaction_merchant_newest")]
        permissions = [
            ("refund_transaction", "Can refund a transaction"),
            ("capture_transaction", "Can capture an authorized transaction"),
            ("void_transaction", "Can void an authorized transaction"),
            ("resolve_transaction", "Can request to resolve a transaction now"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="transaction_amount_positive"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="transaction_currency_is_iso_4217"),
            models.CheckConstraint(
                condition=Q(manual_capture=False, status__in=CHARGE.states)
                | Q(manual_capture=True, status__in=AUTHORIZATION.states),
                name="transaction_status_known",
            ),
            models.CheckConstraint(
                condition=Q(amount_refunded__gte=0)
                & Q(amount_refunded__lte=F("amount_reserved"))
                & (
                    Q(manual_capture=False, amount_reserved__lte=F("amount"))
                    | Q(amount_reserved__lte=F("manually_captured"))
                ),
                name="transaction_refunds_within_amount",
            ),
            models.CheckConstraint(
                condition=Q(amount_reserved=0)
                | Q(status=ChargeStatus.SUCCEEDED.value)
                | Q(status=ChargeStatus.AUTHORIZED.value),
                name="transaction_refunded_only_if_succeeded",
            ),
            models.CheckConstraint(
                condition=Q(manually_captured=0) & (Q(manual_capture=False) | ~Q(status=ChargeStatus.SUCCEEDED.value))
                | Q(manual_capture=True, manually_captured__gt=0, manually_captured__lte=F("amount"))
                & Q(status__in=[ChargeStatus.AUTHORIZED.value, ChargeStatus.SUCCEEDED.value]),
                name="transaction_captured_within_amount",
            ),
            models.CheckConstraint(
                condition=Q(capture_before=None) & (Q(manual_capture=False) | ~Q(status__in=APPROVED))
                | Q(
                    manual_capture=True,
                    capture_before__isnull=False,
                    status__in=APPROVED,
                ),
                name="transaction_expires_if_authorized",
            ),
            models.CheckConstraint(condition=Q(fee__gte=0, fee__lte=F("amount")), name="transaction_fee_within_amount"),
            models.CheckConstraint(
                condition=Q(fee_basis_points__lte=10_000), name="transaction_fee_rate_at_most_the_amount"
            ),
            models.CheckConstraint(
                condition=Q(
                    manual_capture=False,
                    status=ChargeStatus.SUCCEEDED.value,
                    fee=(F("amount") * F("fee_basis_points") + 5_000) / 10_000,
                )
                | Q(manual_capture=False) & ~Q(status=ChargeStatus.SUCCEEDED.value) & Q(fee=0)
                | Q(manual_capture=True, fee=(F("manually_captured") * F("fee_basis_points") + 5_000) / 10_000),
                name="transaction_fee_follows_from_rate",
            ),
            models.CheckConstraint(
                condition=Q(fraud_score=None) | Q(fraud_score__gte=0, fraud_score__lte=1),
                name="transaction_fraud_score_is_a_share",
            ),
            models.CheckConstraint(
                condition=Q(status__in=[*AUTHORIZATION.open, *AUTHORIZATION.held], settled_at=None)
                | Q(status__in=AUTHORIZATION.final, settled_at__isnull=False),
                name="transaction_settled_exactly_if_final",
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
        return not self.manual_capture

    @property
    def amount_authorized(self) -> int:
        """Return the amount that the bank approved, also if it was released or captured since."""
        return self.amount if self.status in APPROVED else 0

    @property
    def amount_captured(self) -> int:
        if self.manual_capture:
            return self.manually_captured
        return self.amount if self.status == ChargeStatus.SUCCEEDED else 0


class FollowingOperation(models.Model):
    """The common fields of the operations that follow a payment: refund, capture and void."""

    FINAL: ClassVar[list[str]]
    transaction: "models.ForeignKey[Transaction, Transaction]"
    status: "models.CharField[str, str]"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    amount = models.BigIntegerField()
    gateway_key = models.UUIDField()  # the gateway knows the operation by it
    failure_code = models.TextField(null=True)
    gateway_reference = models.TextField(null=True)
    request_id = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering = ["-id"]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_final(self) -> bool:
        return self.status in self.FINAL


class Refund(FollowingOperation):
    """Money returned: a part of one transaction, with its own lifecycle."""

    Status = RefundStatus
    FINAL = REFUND.final

    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="refunds")
    idempotency_key = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices)
    # The requested amount, with which a replay is compared: NULL is "all that remains".
    amount_requested = models.BigIntegerField(null=True)
    reason = models.TextField(null=True)

    class Meta(FollowingOperation.Meta):
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_amount_positive"),
            models.CheckConstraint(
                condition=Q(status__in=REFUND.open, settled_at=None)
                | Q(status__in=REFUND.final, settled_at__isnull=False),
                name="refund_settled_exactly_if_final",
            ),
        ]


class Authorization(models.Model):
    """The money that the bank still holds for a payment. The row exists until all of it is captured or released.

    `amount_left` is not captured; `amount_reserved`, a part of it, is in running captures. `closing_id` is the running
    void or final capture, beside which no other operation may start.
    """

    transaction = models.OneToOneField(Transaction, on_delete=models.PROTECT, primary_key=True, related_name="held")
    currency = models.CharField(max_length=3)
    amount_left = models.BigIntegerField()
    amount_reserved = models.BigIntegerField(db_default=0)
    closing_id = models.UUIDField(null=True)
    capture_before = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_left__gt=0, amount_reserved__gte=0, amount_reserved__lte=F("amount_left")),
                name="authorization_reserved_within_left",
            ),
        ]

    def __str__(self) -> str:
        return str(self.transaction_id)


class Capture(FollowingOperation):
    """Money taken from an authorization: a part or all of it. The rest is released after a `final` one."""

    Status = CaptureStatus
    FINAL = CAPTURE.final

    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="captures")
    idempotency_key = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices)
    # The requested amount, with which a replay is compared: NULL is "all that is left".
    amount_requested = models.BigIntegerField(null=True)
    final = models.BooleanField()

    class Meta(FollowingOperation.Meta):
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="capture_amount_positive"),
            models.CheckConstraint(
                condition=Q(status__in=CAPTURE.open, settled_at=None)
                | Q(status__in=CAPTURE.final, settled_at__isnull=False),
                name="capture_settled_exactly_if_final",
            ),
            models.UniqueConstraint(
                fields=["transaction"], condition=Q(final=True) & ~Q(status="failed"), name="capture_final_once"
            ),
        ]


class Void(FollowingOperation):
    """The release of what an authorization still holds: asked for by the merchant, or because it expired."""

    Status = VoidStatus
    FINAL = VOID.final

    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="voids")
    status = models.CharField(max_length=10, choices=Status.choices)
    idempotency_key = models.TextField(null=True)  # NULL: it expired
    reason = models.TextField(null=True)

    class Meta(FollowingOperation.Meta):
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="void_amount_positive"),
            models.CheckConstraint(
                condition=Q(status__in=VOID.open, settled_at=None) | Q(status__in=VOID.final, settled_at__isnull=False),
                name="void_settled_exactly_if_final",
            ),
            models.UniqueConstraint(fields=["transaction"], condition=~Q(status="failed"), name="void_once"),
        ]


class Dispute(models.Model):
    """An objection of the cardholder: the gateway holds the money back until it is decided.

    `sequence` is the number of the gateway's last event about it. `fee` is the gateway's.
    """

    Status = DisputeStatus
    FINAL = DISPUTE.final

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No foreign key, as in `Transaction.merchant`.
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="disputes")
    gateway_key = models.UUIDField(unique=True)  # the gateway knows the dispute by it
    amount = models.BigIntegerField()
    fee = models.BigIntegerField()
    reason = models.TextField()
    status = models.CharField(max_length=16, choices=Status.choices)
    sequence = models.IntegerField()
    evidence_due_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["merchant", "-id"], name="dispute_merchant_newest"),
            models.Index(
                fields=["evidence_due_at"], condition=Q(status__in=list(DISPUTE_RESPONSES)), name="dispute_due"
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0, fee__gte=0), name="dispute_amounts_not_negative"),
            models.CheckConstraint(condition=Q(status__in=DISPUTE.states), name="dispute_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=DISPUTE.held, settled_at=None)
                | Q(status__in=DISPUTE.final, settled_at__isnull=False),
                name="dispute_settled_exactly_if_final",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=list(DISPUTE_RESPONSES)) | Q(evidence_due_at__isnull=False),
                name="dispute_response_has_due_date",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class DisputeResponse(models.Model):
    """The merchant's response in one round of a dispute: evidence, or that it accepts. The worker delivers it."""

    class Kind(models.TextChoices):
        EVIDENCE = "evidence"
        ACCEPTANCE = "acceptance"

    dispute = models.ForeignKey(Dispute, on_delete=models.PROTECT, related_name="responses")
    round = models.SmallIntegerField()  # 2 in pre-arbitration
    kind = models.CharField(max_length=10, choices=Kind.choices)
    text = models.TextField(blank=True, default="")
    files = models.JSONField(default=list)  # name, sha256 and size of each
    actor = models.TextField()
    gateway_key = models.UUIDField(default=uuid.uuid4)  # the gateway knows the response by it
    created_at = models.DateTimeField(db_default=Now())
    attempts = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["dispute", "round"], name="dispute_response_once")]
        indexes = [models.Index(fields=["due_at"], condition=Q(delivered_at=None), name="dispute_response_due")]

    def __str__(self) -> str:
        return f"{self.kind} {self.round}"


class IdempotencyKey(models.Model):
    """A merchant's key, used once, for one operation. Keys do not expire yet."""

    pk = models.CompositePrimaryKey("merchant_id", "key")
    merchant_id = models.BigIntegerField()
    key = models.TextField()
    resource_id = models.UUIDField()
    kind = models.CharField(max_length=7, choices=[(kind, kind.capitalize()) for kind in KEY_KINDS])

    def __str__(self) -> str:
        return self.key


class UnresolvedQuerySet(models.QuerySet["Unresolved"]):
    def lease_seconds(self, resource_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, float]:
        """Return the remaining seconds of first leases that still run, by the database's clock."""
        held = self.filter(resource_id__in=resource_ids, attempts=0, lease_until__gt=Now())
        remaining = held.annotate(remaining=F("lease_until") - Now()).values_list("resource_id", "remaining")
        return {resource_id: time.total_seconds() for resource_id, time in remaining}

    def release(self, leases: Iterable[tuple[uuid.UUID, uuid.UUID]], *, seconds: float = 0) -> None:
        """Release (resource, token) leases that are still ours; the resolver may acquire them after `seconds`."""
        held = dict(leases)
        ours = self.filter(resource_id__in=held, lease_token__in=held.values())  # no two leases share a token
        ours.update(lease_token=None, lease_until=Now() + timedelta(seconds=seconds))


class Unresolved(models.Model):
    """An operation that is not final. Only the holder of `lease_token` may settle it while the lease runs."""

    resource_id = models.UUIDField(primary_key=True)  # the id of the transaction, refund, capture or void
    transaction_id = models.UUIDField()
    refund_id = models.UUIDField(null=True)
    capture_id = models.UUIDField(null=True)
    void_id = models.UUIDField(null=True)
    operation = models.GeneratedField(
        expression=Case(
            When(Q(refund_id__isnull=False), then=Value("refund")),
            When(Q(capture_id__isnull=False), then=Value("capture")),
            When(Q(void_id__isnull=False), then=Value("void")),
            default=Value("charge"),
        ),
        output_field=models.CharField(max_length=16),
        db_persist=True,
    )
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField()
    attempts = models.IntegerField(db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    objects = UnresolvedQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.resource_id)


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
        Transaction, on_delete=models.PROTECT, related_name="events", db_index=False, db_constraint=False
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


class KpiRollup(models.Model):
    """Totals of settled events per writer. `payments/kpis.py` adds new ones."""

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


class GatewayEvent(models.Model):
    """An event that the gateway sent, stored once and before it is read; the worker notes its outcome."""

    class Outcome(models.TextChoices):
        APPLIED = "applied"
        IGNORED = "ignored", "Ignored: nothing was left to do"
        REFUSED = "refused", "Refused: it contradicts our rows"
        UNREADABLE = "unreadable"
        UNKNOWN_TYPE = "unknown_type", "Of an unknown type"

    gateway = models.TextField()
    identifier = models.TextField()
    body = models.BinaryField()
    sent_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=Now())
    request_id = models.TextField(null=True)
    type = models.TextField(null=True)  # NULL: not read yet, or unreadable
    attempts = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=12, choices=Outcome.choices, null=True)
    detail = models.TextField(blank=True, default="")
    processed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["due_at"], condition=Q(processed_at=None), name="gateway_event_due")]
        constraints = [
            models.UniqueConstraint(fields=["gateway", "identifier"], name="gateway_event_once"),
            models.CheckConstraint(
                condition=Q(processed_at=None, outcome=None) | Q(processed_at__isnull=False, outcome__isnull=False),
                name="gateway_event_outcome_if_processed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type or 'event'} {self.identifier}"


class WebhookEndpoint(models.Model):
    """A merchant's address that receives events. Never deleted: its attempts refer to it.

    One worker at a time sends to an endpoint, the holder of `lease_token`, so that the order is kept. `retry_at` pauses
    the endpoint after failures in a row.
    """

    class DisabledBecause(models.TextChoices):
        MERCHANT = "merchant", "Disabled by the merchant"
        FAILING = "failing", "It failed for five days"
        GONE = "gone", "It answered 410 Gone"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, related_name="webhook_endpoints")
    url = models.TextField(verbose_name="URL")
    description = models.TextField(blank=True, default="")
    event_types = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Types of events, such as payment.succeeded. Empty: all.",
    )
    is_enabled = models.BooleanField(default=True)
    disabled_because = models.CharField(max_length=8, choices=DisabledBecause.choices, null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    failures = models.IntegerField(db_default=0, editable=False)  # in a row
    failing_since = models.DateTimeField(null=True, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["merchant", "url"], name="webhook_endpoint_once"),
            models.CheckConstraint(
                condition=Q(is_enabled=True, disabled_because=None)
                | Q(is_enabled=False, disabled_because__isnull=False),
                name="webhook_endpoint_disabled_for_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return self.url


class WebhookSecret(models.Model):
    """A secret that signs deliveries, encrypted (`payments/webhooks/signing.py`). Several are valid in a rotation."""

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="secrets")
    encrypted = models.BinaryField(max_length=256, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"secret {self.pk}"


class WebhookEvent(models.Model):
    """An event for merchants.

    Its object is built from the journal's entry; an event without one stores it in `data`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    merchant = models.ForeignKey(Merchant, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    type = models.TextField()
    journal = models.OneToOneField(Event, on_delete=models.PROTECT, null=True, db_constraint=False)
    data = models.JSONField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["merchant", "-id"], name="webhook_event_merchant_newest")]
        constraints = [
            models.CheckConstraint(
                condition=Q(journal__isnull=False, data__isnull=True) | Q(journal=None, data__isnull=False),
                name="webhook_event_has_one_object",
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class WebhookDelivery(models.Model):
    """An event on its way to one endpoint, in the order of `id`."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed", "Failed, not tried again"

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    event = models.ForeignKey(WebhookEvent, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    status = models.CharField(max_length=9, choices=Status.choices, db_default=Status.PENDING)
    tries = models.SmallIntegerField(db_default=0)  # since it was queued last
    due_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "endpoint"], name="webhook_delivery_once")]
        indexes = [
            models.Index(fields=["endpoint", "id"], condition=Q(status="pending"), name="webhook_delivery_pending"),
            models.Index(fields=["endpoint", "-id"], name="webhook_delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk}"


class WebhookAttempt(models.Model):
    """A try to deliver: append-only."""

    class Outcome(models.TextChoices):
        DELIVERED = "delivered"
        REFUSED = "refused", "Answered with another status than 2xx"
        REDIRECT = "redirect", "Answered with a redirect, which is not followed"
        GONE = "gone", "Answered 410 Gone"
        TIMEOUT = "timeout", "No answer in time"
        CONNECTION = "connection", "Not reached, or no HTTP answer"
        CERTIFICATE = "certificate", "The certificate is not valid"
        ADDRESS = "address", "The address is not public"

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.PROTECT, related_name="attempts")
    at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=11, choices=Outcome.choices)
    status_code = models.SmallIntegerField(null=True)
    milliseconds = models.IntegerField()
    answer = models.TextField(blank=True, default="")  # the beginning of the body, or the error

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.outcome} {self.at:%Y-%m-%d %H:%M:%S}"


class WebhookWatermark(models.Model):
    """The event of the journal up to which all are announced: one row."""

    event_id = models.BigIntegerField(db_default=0)

    def __str__(self) -> str:
        return str(self.event_id)
