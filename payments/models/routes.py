"""Routes: the gateway that charges a merchant's payments in a currency, and the record of their changes."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from payments.models.merchants import Merchant


class GatewayRoute(models.Model):
    """A rule for new payments. It replaces the rule of `GATEWAY_ROUTES` for the same merchant and currency."""

    merchant = models.ForeignKey(
        Merchant,
        on_delete=models.PROTECT,
        db_index=False,
        null=True,
        blank=True,
        related_name="gateway_routes",
        help_text="Empty: all merchants without a rule of their own.",
    )
    currency = models.CharField(max_length=3, null=True, blank=True, help_text="Such as EUR. Empty: all others.")
    gateway = models.CharField(max_length=64, help_text="It is asked first.")
    fallback = models.CharField(
        max_length=64, null=True, blank=True, help_text="It is asked if the first one is known to have charged nothing."
    )
    note = models.CharField(max_length=255, blank=True, default="", help_text="The reason for this rule.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["merchant", "currency"],
                name="gateway_route_once",
                nulls_distinct=False,
                violation_error_message="There is a route for this merchant and currency: change it.",
            ),
            models.CheckConstraint(
                condition=Q(currency=None) | Q(currency__regex=r"^[A-Z]{3}$"), name="gateway_route_currency_possible"
            ),
            models.CheckConstraint(
                condition=~Q(gateway="") & (Q(fallback=None) | ~Q(fallback="") & ~Q(fallback=F("gateway"))),
                name="gateway_route_gateways_differ",
                violation_error_message="The second gateway must be another one.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.currency or 'all currencies'}: {'>'.join(filter(None, [self.gateway, self.fallback]))}"


class GatewayRouteChange(models.Model):
    """One change: a route that was added (no `before`), changed or removed (no `after`). A trigger writes it."""

    route_id = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())
    actor = models.TextField()  # admin:<user name>, or database:<role> for a change outside of the admin
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"route {self.route_id} {self.at:%Y-%m-%d %H:%M:%S}"
