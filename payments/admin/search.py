"""The search boxes: exact values, each through an index."""

from contextlib import suppress
from uuid import UUID

from payments.models import IdempotencyKey, Merchant, Refund

# Merchants may have used the same key.
MAX_FOUND = 200


def transactions_of(term: str) -> list[UUID]:
    """Return transactions by their id or idempotency key, or by those of one of their refunds."""
    named = _named(term)
    return [*named, *Refund.objects.filter(pk__in=named).values_list("transaction_id", flat=True)]


def refunds_of(term: str) -> list[UUID]:
    """Return refunds by their id or idempotency key, or by those of their transaction."""
    named = _named(term)
    return [*named, *Refund.objects.filter(transaction_id__in=named).values_list("pk", flat=True)[:MAX_FOUND]]


def _named(term: str) -> list[UUID]:
    """Return the ids that `term` may name, of any kind."""
    term = term.strip()
    # Keys are indexed by merchant, so the query lists each merchant.
    keys = IdempotencyKey.objects.filter(merchant_id__in=Merchant.objects.values("pk"), key=term)
    found = list(keys.values_list("resource_id", flat=True)[:MAX_FOUND])
    return found + read_ids(term)


def read_ids(term: str) -> list[UUID]:
    """Return the id that `term` is, or nothing."""
    with suppress(ValueError):
        return [UUID(term)]
    return []
