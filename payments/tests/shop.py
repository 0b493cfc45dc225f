"""A merchant whose payments are made in this process, by the services, at a real gateway simulator."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from payments.api.responses import Reply, reply_to
from payments.api_keys import Principal, authenticate, cache, create_api_key
from payments.gateway.registry import gateways
from payments.models import ApiKey, Merchant, Transaction, Unresolved
from payments.schemas import PaymentInput, PaymentMethod, RefundInput
from payments.services.charges import create_payment
from payments.services.refunds import create_refund
from payments.services.resolution import resolve_due

CARD = PaymentMethod("card", token="pm_card_visa")


@dataclass
class Shop:
    merchant: Merchant
    secret: str
    principal: Principal

    @classmethod
    def open(cls, **fields: int) -> "Shop":
        merchant = Merchant.objects.create(name=f"Shop {secrets.token_hex(12)}", country="DE", **fields)
        _, secret = create_api_key(merchant=merchant, name="test", scopes=list(ApiKey.Scope.values))
        return cls(merchant, secret, authenticate(f"Bearer {secret}"))

    def change_merchant(self, **fields: Any) -> None:
        """Change the merchant, and authenticate again once the change is known."""
        Merchant.objects.filter(pk=self.merchant.pk).update(**fields)
        cache.forget()
        self.principal = authenticate(f"Bearer {self.secret}")

    def pay(self, amount: int = 1250, currency: str = "EUR", *, key: str | None = None, **fields: Any) -> Reply:
        body = PaymentInput(amount=amount, currency=currency, **{"customer": "c_1", **fields})
        return reply_to(create_payment(principal=self.principal, key=key or secrets.token_hex(12), body=body))

    def refund(self, payment: UUID, amount: int | None = None, *, key: str | None = None) -> Reply:
        outcome = create_refund(
            merchant_id=self.merchant.pk,
            transaction_id=payment,
            key=key or secrets.token_hex(12),
            body=RefundInput(amount=amount),
        )
        return reply_to(outcome)

    def resolve(self) -> None:
        """Resolver's turns until nothing of any shop is due, except what other tests left at gateways of their own."""
        elsewhere = Transaction.objects.exclude(gateway__in=[*gateways.names, *gateways.made]).values("id")
        others = Q(transaction_id__in=elsewhere)
        Unresolved.objects.filter(others).update(lease_until=Now() + timedelta(days=1))
        Unresolved.objects.filter(~others, lease_token=None).update(lease_until=Now())
        with ThreadPoolExecutor(4) as threads:
            while resolve_due(threads):
                pass
