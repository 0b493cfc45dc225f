"""The most specific rule chooses the gateway; a row replaces the setting's rule of the same merchant and currency."""

import pytest

from fintech.env import ANY
from payments.api_keys import authenticate, cache
from payments.gateway.registry import gateways
from payments.gateway.routing import Routes, rules_of
from payments.models import GatewayRoute, Merchant
from payments.schemas import PaymentInput
from payments.services.pending import Pending
from payments.tests.shop import Shop

CONFIGURED = ("simulator", "stripe", "third")
SETTING = {(ANY, "USD"): ("stripe",), ("7", ANY): ("third", "simulator")}


@pytest.mark.parametrize(
    ("merchant", "currency", "chosen"),
    [
        (1, "EUR", ("simulator",)),
        (1, "USD", ("stripe",)),
        (7, "EUR", ("third", "simulator")),
        (7, "USD", ("third", "simulator")),
    ],
)
def test_without_rows_the_setting_applies(merchant, currency, chosen):
    assert Routes(SETTING, "simulator").choose(merchant, currency) == chosen


@pytest.mark.parametrize(
    ("row", "merchant", "currency", "chosen"),
    [
        ((None, "USD", "third", None), 1, "USD", ("third",)),
        ((None, "USD", "third", None), 7, "USD", ("third", "simulator")),  # the setting's rule of this merchant
        ((7, "USD", "stripe", "third"), 7, "USD", ("stripe", "third")),
        ((7, "USD", "stripe", "third"), 7, "EUR", ("third", "simulator")),
        ((7, None, "stripe", None), 7, "EUR", ("stripe",)),
        ((None, None, "third", None), 1, "EUR", ("third",)),
        ((None, None, "third", None), 1, "USD", ("stripe",)),
        ((None, None, "gone", "third"), 1, "EUR", ("simulator",)),
        ((None, None, "third", "gone"), 1, "EUR", ("third",)),
    ],
)
def test_the_most_specific_rule_applies(row, merchant, currency, chosen):
    rows = rules_of([row], CONFIGURED)

    assert Routes(SETTING, "simulator").choose(merchant, currency, rows) == chosen


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setitem(gateways._factories, "stripe", lambda: None)
    return Shop.open()


def chosen(shop: Shop, currency: str = "EUR") -> tuple[str, ...]:
    body = PaymentInput(amount=1250, currency=currency)
    return Pending.create(authenticate(f"Bearer {shop.secret}"), "key", body).gateways


@pytest.mark.django_db
def test_a_row_sends_payments_to_its_gateway_once_the_key_is_read_again(shop):
    assert chosen(shop) == ("simulator",)
    GatewayRoute.objects.create(merchant=shop.merchant, currency="EUR", gateway="stripe", fallback="simulator")
    other = Merchant.objects.create(name="Another", country="DE")
    GatewayRoute.objects.create(merchant=other, currency="USD", gateway="stripe")
    assert chosen(shop) == ("simulator",)

    cache.forget()  # as it happens every few seconds

    assert (chosen(shop), chosen(shop, "USD")) == (("stripe", "simulator"), ("simulator",))


@pytest.mark.django_db
def test_a_key_is_read_with_its_routes_in_one_statement(shop, django_assert_num_queries):
    GatewayRoute.objects.create(gateway="stripe")
    cache.forget()

    with django_assert_num_queries(1):
        assert chosen(shop) == ("stripe",)
    with django_assert_num_queries(0):
        assert chosen(shop) == ("stripe",)
