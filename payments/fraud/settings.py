"""Changes of a merchant's fraud settings and lists. Triggers record each one; this module names the actor.

See `payments_fraud_actor` in the migrations.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.transaction import atomic

from fintech.database.sql import execute
from payments.bodies import parse
from payments.models import FraudListEntry, VelocityRule
from payments.schemas import PaymentInput

# All entries of a merchant are read with each of its API keys, every three seconds in each process.
MAX_ENTRIES = 1000
# Each is one more counter for every payment.
MAX_RULES = 20


@contextmanager
def recorded_by(actor: str) -> Iterator[None]:
    """Record the changes of this transaction as those of `actor`."""
    with atomic():
        _set_actor(actor)
        yield
        _set_actor("")


def _set_actor(actor: str) -> None:
    execute("SELECT set_config('payments.actor', %s, true)", [actor])


def check_entry(field: str, value: str) -> None:
    """Raise InvalidRequest unless a payment could have this value."""
    method = {"type": "card", **({} if field == "customer" else {field: value})}
    payment = {"amount": 1, "currency": "EUR", "payment_method": method}
    parse(payment | ({"customer": value} if field == "customer" else {}), PaymentInput)


def has_all_rules(merchant_id: int) -> bool:
    return VelocityRule.objects.filter(merchant_id=merchant_id).count() >= MAX_RULES


def is_full(merchant_id: int) -> bool:
    return FraudListEntry.objects.filter(merchant_id=merchant_id).count() >= MAX_ENTRIES
