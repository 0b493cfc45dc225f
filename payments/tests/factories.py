"""People who sign in to the admin, and payments for them to look at."""

import secrets
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.db.models.functions import Now
from django.db.transaction import atomic
from django.test import Client
from uuid_utils.compat import uuid7

from payments.models import Event, IdempotencyKey, LedgerLeg, Merchant, Transaction, Unresolved


def sign_in(*permissions: str, superuser: bool = False, group: str | None = None, **options: Any) -> Client:
    """A client of a new member of staff; permissions are those of payments, such as `view_transaction`."""
    user = User.objects.create(username=f"u{secrets.token_hex(6)}", is_staff=True, is_superuser=superuser)
    known = Permission.objects.filter(content_type__app_label="payments", codename__in=permissions)
    assert len(known) == len(permissions)
    user.user_permissions.set(known)
    if group is not None:
        user.groups.add(Group.objects.get(name=group))
    client = Client(**options)
    client.force_login(user)
    return client


@atomic
def make_payment(
    merchant: Merchant, *, amount: int = 1250, currency: str = "EUR", status: str = "succeeded", **fields: Any
) -> Transaction:
    """A payment as the services leave it, without asking a gateway."""
    key = uuid7()
    payment = Transaction(
        id=key,
        merchant=merchant,
        idempotency_key=secrets.token_hex(12),
        amount=amount,
        currency=currency,
        status=status,
        fee=0,
        fee_basis_points=0,
        gateway_key=key,
        **fields,
    )
    if payment.is_final:
        payment.settled_at = Now()
    payment.save(force_insert=True)
    IdempotencyKey.objects.create(
        merchant_id=merchant.pk, key=payment.idempotency_key, resource_id=payment.pk, kind="payment"
    )
    Event.objects.create(transaction=payment, kind="processing", actor="api")
    if status == "processing":
        return payment
    exchange = {"operation": "charge", "outcome": "approved", "status_code": 200, "answer": {}, "milliseconds": 1.5}
    event = Event.objects.create(transaction=payment, kind=status, actor="api", data={"gateway": [exchange]})
    if status == "succeeded":
        LedgerLeg.objects.bulk_create(
            LedgerLeg(event=event, transaction=payment, account=account, currency=currency, amount=leg)
            for account, leg in (("gateway_clearing", amount), ("merchant_payable", -amount))
        )
    if status == "unknown":
        Unresolved.objects.create(resource_id=payment.pk, transaction_id=payment.pk, lease_until=Now())
    return payment
