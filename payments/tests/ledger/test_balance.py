"""The legs of the ledger sum to zero, and it is noticed when they do not."""

from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import connections
from django.db.transaction import atomic

from fintech.testing.processes import wait_until
from payments.ledger import running_sums
from payments.ledger.running_sums import Balance
from payments.models import LedgerLeg
from payments.table_follower import TableFollower

pytestmark = pytest.mark.processes

LEG = """
INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
SELECT event_id, transaction_id, account, currency, %s FROM payments_ledgerleg WHERE currency = 'EUR' LIMIT 1
"""


@pytest.fixture
def owner(shop, monkeypatch) -> Iterator[None]:
    """A connection of the schema's owner without the trigger; everything is rolled back. Payments are blocked
    meanwhile.
    """
    shop.pay(1250)
    opened = connections["owner"]
    monkeypatch.setattr(running_sums, "connection", opened)
    with atomic(using="owner"), opened.cursor() as cursor:
        cursor.execute("ALTER TABLE payments_ledgerleg DISABLE TRIGGER refuse_wrong_legs")
        yield
        opened.set_rollback(True)


def add_leg(amount: int) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(LEG, [amount])


def test_postings_sum_to_zero_however_often_it_is_asked(shop):
    ledger = Balance()
    for amount in (1250, 333):
        shop.pay(amount)
        assert ledger.measure() == {}


@pytest.mark.parametrize("amount", [1, -7])
def test_a_leg_without_its_counterpart_is_the_imbalance_of_its_currency(owner, amount):
    ledger = Balance()
    assert ledger.measure() == {}

    add_leg(amount)

    assert ledger.measure() == {"EUR": amount}


def test_two_errors_that_hide_each_other_in_one_sum_balance(owner):
    """`audit_ledger` finds these: it looks at each posting."""
    add_leg(5)
    add_leg(-5)

    assert Balance().measure() == {}


def test_the_effects_of_an_error_stay_after_the_settlement(owner, monkeypatch):
    add_leg(3)
    monkeypatch.setattr(TableFollower, "_has_ended", staticmethod(lambda cursor, xid: True))
    ledger = Balance()

    assert [ledger.measure() for _ in range(3)] == [{"EUR": 3}] * 3


def test_a_long_ledger_is_caught_up_with_in_bounded_statements(shop, monkeypatch):
    shop.pay(1250)
    newest = LedgerLeg.objects.latest("id").pk
    monkeypatch.setattr(running_sums, "BATCH_SIZE", max(1, newest // 3))
    ledger = Balance()

    assert ledger.measure() is None
    wait_until(lambda: ledger.measure() == {}, what="it has caught up")


def test_sums_are_forgotten_after_a_failover(shop, owner, monkeypatch):
    """The new server's ids may begin again below those that were summed."""
    monkeypatch.setattr(TableFollower, "_has_ended", staticmethod(lambda cursor, xid: True))
    ledger = Balance()
    for _ in range(3):
        ledger.measure()
    ledger._follower.server = "the server that was lost"
    ledger._settled, ledger._upto = Counter({"EUR": 5}), 2**40

    add_leg(3)

    assert ledger.measure() == {"EUR": 3}
