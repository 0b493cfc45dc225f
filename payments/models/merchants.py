"""Merchants and their API keys."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now


class Merchant(models.Model):
    """A seller. Never deleted: payments refer to it without a foreign key (see `Transaction.merchant`)."""

    name = models.CharField(max_length=200, unique=True)
    country = models.CharField(max_length=2, help_text="ISO 3166 code of the merchant's country, such as DE.")
    is_active = models.BooleanField(
        default=True, help_text="An inactive merchant's keys are refused within five seconds."
    )
    fraud_threshold = models.FloatField(
        default=0.8, help_text="Payments with this score or more are blocked. 0 blocks all, 1 almost none."
    )
    review_threshold = models.FloatField(
        null=True, blank=True, help_text="Payments with this score or more are held for a review. Empty: none."
    )
    fraud_weights = models.JSONField(
        default=dict,
        blank=True,
        help_text='Weights that replace the defaults in docs/api.md, such as {"country_mismatch": 0.4}.',
    )
    unscored_limit_minor = models.BigIntegerField(
        default=50_00,
        help_text="A payment that cannot be scored is accepted below this amount and blocked from this amount on.",
    )
    refuse_forbidden_retries = models.BooleanField(
        default=False,
        help_text="Refuse a payment that repeats a declined one before the advice of its decline allows it.",
    )
    fee_basis_points = models.PositiveIntegerField(
        default=150,
        help_text="Our fee in hundredths of a percent of the amount: 150 is 1.5 %. Applies to new payments.",
    )
    return_hosts = ArrayField(
        models.CharField(max_length=255),
        default=list,
        db_default=Value([], output_field=ArrayField(models.CharField(max_length=255))),
        blank=True,
        help_text="Hosts that a payment's return_url may have, such as shop.example or shop.example:8443, separated by"
        " commas. Without one, its customers cannot be authenticated (3-D Secure).",
    )
    # Part of each gateway key (`payments/gateway/keys.py`): ids repeat when a database is created again, this does not.
    gateway_namespace = models.UUIDField(db_default=RandomUUID(), editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(fraud_threshold__gte=0, fraud_threshold__lte=1), name="merchant_threshold_is_a_share"
            ),
            models.CheckConstraint(
                condition=Q(review_threshold=None) | Q(review_threshold__gte=0, review_threshold__lte=1),
                name="merchant_review_threshold_is_a_share",
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
        REVIEW = "reviews:write", "Accept and refuse payments in review"

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
