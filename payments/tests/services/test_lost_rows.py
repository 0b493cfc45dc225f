"""A retry after the database lost a request that the gateway had carried out: a failover to a replica that lagged."""

from uuid import UUID

import pytest

from loadtests.tests.simulator import Simulator, running_gateway
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.keys import charge_key, refund_key
from payments.gateway.registry import gateways
from payments.ledger.reconciliation import reconcile
from payments.models import IdempotencyKey, Transaction
from payments.tests.consistency import check_books, gateway_key
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

LOSE_PAYMENT = """
WITH legs AS (DELETE FROM payments_ledgerleg WHERE transaction_id = %(id)s),
    events AS (DELETE FROM payments_event WHERE transaction_id = %(id)s),
    work AS (DELETE FROM payments_unresolved WHERE transaction_id = %(id)s),
    keys AS (DELETE FROM payments_idempotencykey WHERE resource_id = %(id)s)
DELETE FROM payments_transaction WHERE id = %(id)s
"""
LOSE_REFUND = """
WITH legs AS (DELETE FROM payments_ledgerleg WHERE event_id IN
        (SELECT id FROM payments_event WHERE refund_id = %(id)s)),
    events AS (DELETE FROM payments_event WHERE refund_id = %(id)s),
    work AS (DELETE FROM payments_unresolved WHERE refund_id = %(id)s),
    keys AS (DELETE FROM payments_idempotencykey WHERE resource_id = %(id)s),
    payment AS (UPDATE payments_transaction SET amount_reserved = 0, amount_refunded = 0 WHERE id IN
        (SELECT transaction_id FROM payments_refund WHERE id = %(id)s))
DELETE FROM payments_refund WHERE id = %(id)s
"""


def moved(gateway: Simulator, key: str) -> list[int]:
    return [record["amount"] for record in gateway.records() if record["key"] == key]


@pytest.mark.parametrize("amount", [1250, 1922], ids=["answered", "whose answer was lost"])
def test_a_retry_of_a_lost_payment_adopts_the_first_charge(shop, gateway, tamper, amount):
    first = shop.pay(amount, key="order-7").body
    key = gateway_key(first.id)
    tamper(LOSE_PAYMENT, {"id": first.id})

    again = shop.pay(amount, key="order-7")

    assert (again.status_code, again.body.status) == (201, "succeeded")
    assert again.body.id != first.id
    assert gateway_key(again.body.id) == key
    assert moved(gateway, key) == [amount]
    check_books(gateway, shop.merchant)


def test_a_retry_of_a_lost_payment_that_was_declined_is_declined_again(shop, gateway, tamper):
    first = shop.pay(1901, key="order-7").body
    tamper(LOSE_PAYMENT, {"id": first.id})

    assert shop.pay(1901, key="order-7").body.status == "declined"
    check_books(gateway, shop.merchant)


def test_a_retry_of_a_lost_payment_with_another_amount_charges_nothing_and_is_reported(tmp_path, monkeypatch, tamper):
    with running_gateway(tmp_path) as gateway:
        monkeypatch.setitem(gateways.made, "simulator", HttpGateway(gateway.url, gateway.token))
        shop = Shop.open()
        first = shop.pay(1250, key="order-7").body
        key = gateway_key(first.id)
        tamper(LOSE_PAYMENT, {"id": first.id})

        again = shop.pay(1300, key="order-7").body

        assert again.status == "failed"
        assert moved(gateway, key) == [1250]
        (finding,) = reconcile(HttpGateway(gateway.url, gateway.token), merchants=[shop.merchant.pk]).findings
        assert (finding.check, finding.resource) == ("missing_in_ledger", str(again.id))


def test_a_retry_of_a_lost_refund_adopts_the_first_refund(shop, gateway, tamper):
    payment = shop.pay(1250).body.id
    first = shop.refund(payment, 400, key="back-7").body
    tamper(LOSE_REFUND, {"id": first.id})

    again = shop.refund(payment, 400, key="back-7")

    assert (again.body.status, again.body.id != first.id) == ("succeeded", True)
    assert [record["amount"] for record in gateway.records() if record["charge"] == gateway_key(payment)] == [400]
    check_books(gateway, shop.merchant)


def test_the_same_key_of_another_merchant_is_another_charge(shop, gateway):
    keys = [gateway_key(other.pay(key="order-7").body.id) for other in (shop, Shop.open())]

    assert len(set(keys)) == 2


def test_a_key_depends_on_merchant_and_operation_only():
    namespace = UUID("00000000-0000-4000-8000-000000000001")

    assert charge_key(namespace, "a") == charge_key(namespace, "a")
    assert len({charge_key(namespace, "a"), charge_key(namespace, "b"), refund_key(namespace, "a")}) == 3
    assert charge_key(namespace, "a").version == 8


def test_a_payment_of_an_earlier_release_is_resolved_by_its_id(shop, gateway, tamper):
    """Until then the gateway knew a payment by our id."""
    gateway.profile(drop_ratio=1)
    payment = shop.pay().body.id
    gateway.profile(drop_ratio=0)
    tamper("UPDATE payments_transaction SET gateway_key = id WHERE id = %(id)s", {"id": payment})
    gateway.post_charge(str(payment), 1250)

    shop.resolve()

    assert Transaction.objects.get(id=payment).status == "succeeded"
    assert IdempotencyKey.objects.filter(resource_id=payment).exists()
    check_books(gateway, shop.merchant)
