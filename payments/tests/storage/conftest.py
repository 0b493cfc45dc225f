"""A writer of its own for a test, and no work that the test leaves to others."""

from collections.abc import Iterator

import pytest

from payments.models import Merchant, Transaction, Unresolved
from payments.storage.group_commit import PaymentWriter


@pytest.fixture
def writer() -> Iterator[PaymentWriter]:
    made = PaymentWriter()
    made.restore_counters()
    yield made
    made.disconnect()


@pytest.fixture
def leave_nothing_open(merchant: Merchant) -> Iterator[None]:
    yield
    payments = Transaction.objects.filter(merchant=merchant).values("id")
    Unresolved.objects.filter(transaction_id__in=payments).delete()
