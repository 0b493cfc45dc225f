"""A person at work in the admin, in a real browser on the real platform, under the real Content-Security-Policy."""

import random
import secrets

import pytest
from django.contrib.auth.models import User

from fintech.testing.browser import SCREENSHOTS, Browser, needs_chromium
from fintech.testing.processes import Platform, wait_until
from payments.api_keys import create_api_key
from payments.models import Merchant, Refund, Transaction
from payments.tests.conftest import ALL_SCOPES, Client

pytestmark = [needs_chromium, pytest.mark.processes]


@pytest.fixture
def shops(platform: Platform) -> list[Client]:
    """Merchants with some payments, to have something to look at."""
    chance = random.Random(7)
    shops = []
    for name, country in (("Sakura Games", "JP"), ("Café Solaire", "FR"), ("Nordlicht Books", "DE")):
        merchant = Merchant.objects.create(name=f"{name}{'' if SCREENSHOTS else secrets.token_hex(6)}", country=country)
        shops.append(Client(platform, merchant, create_api_key(merchant=merchant, name="shop", scopes=ALL_SCOPES)[1]))
    for number in range(24):
        shop = chance.choice(shops)
        currency = "JPY" if shop is shops[0] else chance.choice(["EUR", "EUR", "EUR", "GBP", "KWD"])
        amount = chance.choice([chance.randrange(500, 60_000) // 10 * 10] * 5 + [1901, 3911])
        token = chance.choice(["tok_visa"] * 5 + ["tok_risky", "tok_fraud"])
        method = {"type": "card", "token": token, "country": shop.merchant.country}
        assert shop.pay(amount, currency, payment_method=method, reference=f"order-{2000 + number}").status == 201
    return shops


def test_a_day_in_the_admin(browser: Browser, platform: Platform, shops: list[Client]):
    method = {"type": "card", "token": "tok_visa", "country": "DE"}
    payment = shops[2].pay(125_000, payment_method=method, reference="order-2042", description="Three first editions")

    browser.sign_in("admin")
    assert "Newest payments" in browser.page.content()
    refund(browser, payment.body["id"])
    look_at_the_lists(browser, payment.body["id"], shops[2].merchant)
    resolve(browser, platform, shops[2])
    make_and_revoke_a_key(browser, shops[2].merchant)
    change_a_merchant(browser, shops[2].merchant)

    assert browser.complaints == []


def test_no_form_is_wider_than_the_window(browser: Browser, client: Client):
    endpoint = client.post("/v1/webhook-endpoints", {"url": f"https://8.8.8.8/{'h' * 120}", "enabled": False}).body[
        "id"
    ]
    refunded = client.refund(client.pay().body["id"]).body["id"]
    browser.sign_in("admin")
    paths = [
        f"payments/webhookendpoint/{endpoint}/change/",
        "payments/webhookendpoint/add/",
        f"payments/refund/{refunded}/change/",
        "auth/group/add/",
        f"auth/user/{User.objects.latest('pk').pk}/change/",
    ]

    for path in paths:
        browser.open(f"/admin/{path}")
        for width in (1280, 390):
            browser.page.set_viewport_size({"width": width, "height": 900})
            assert (path, browser.page.evaluate("document.documentElement.scrollWidth")) == (path, width)


def refund(browser: Browser, payment: str) -> None:
    page = browser.page
    browser.open(f"/admin/payments/transaction/{payment}/change/")
    browser.follow("text=Refund…")
    assert page.input_value("#id_amount") == "125000"
    page.fill("#id_amount", "999999999")
    browser.follow("button:has-text('Refund')")
    assert "125000 is left to refund" in page.content()
    page.fill("#id_amount", "20000")
    page.fill("#id_reason", "One volume was damaged")
    page.dblclick("button:has-text('Refund')")
    page.wait_for_url("**/change/")

    (made,) = Refund.objects.filter(transaction_id=payment)
    wait_until(lambda: Refund.objects.get(pk=made.pk).status == "succeeded", what="the gateway gives it back")
    browser.open(f"/admin/payments/transaction/{payment}/change/")
    assert "One volume was damaged" in page.content()
    page.click("#journal summary >> nth=0")
    assert '"operation": "charge"' in page.inner_text("#journal pre >> nth=0")
    browser.picture("admin-transaction.png", height=0)


def look_at_the_lists(browser: Browser, payment: str, merchant: Merchant) -> None:
    page = browser.page
    browser.open("/admin/payments/transaction/")
    browser.picture("admin-transactions.png")
    page.click("text=Filters")
    page.select_option("select[name=status]", "succeeded", force=True)
    browser.follow("button:has-text('Apply Filters')")
    assert "status=succeeded" in page.url
    page.fill("#searchbar", payment)
    with page.expect_navigation():
        page.press("#searchbar", "Enter")
    assert page.locator("#result_list tbody tr").count() == 1
    for path in (f"transaction/?merchant__id__exact={merchant.pk}", "refund/", "ledgerleg/", "merchant/", "apikey/"):
        browser.open(f"/admin/payments/{path}")
        assert page.locator("#result_list tbody tr").count() > 0


def resolve(browser: Browser, platform: Platform, shop: Client) -> None:
    """Without a worker nothing is resolved; with one it takes seconds."""
    assert platform.worker is not None
    platform.worker.stop()
    unknown = shop.pay(1922).body  # charged, and the reply lost
    browser.open(f"/admin/payments/transaction/{unknown['id']}/change/")
    browser.follow("button:has-text('Resolve now')")
    assert "will handle 1" in browser.page.content()
    assert "resolution requested" in browser.page.content()
    platform.start()

    def is_settled() -> bool:
        return Transaction.objects.get(pk=unknown["id"]).status == "succeeded"

    wait_until(is_settled, what="the resolver settles it")
    browser.open(f"/admin/payments/transaction/{unknown['id']}/change/")
    assert "Waiting for the outcome" not in browser.page.content()


def make_and_revoke_a_key(browser: Browser, merchant: Merchant) -> None:
    page = browser.page
    browser.open(f"/admin/payments/merchant/{merchant.pk}/change/")
    browser.follow("text=New API key")
    page.fill("#id_name", "shop checkout")
    page.check("input[value='payments:read']")
    page.check("input[value='payments:write']")
    browser.follow("button[name=_save]")
    secret = page.inner_text("#secret")
    assert secret.startswith("fk_")
    made = page.url
    assert made.endswith("/change/")  # what a reload asks for
    browser.picture("admin-api-key.png", height=640)
    page.reload()
    assert secret.split("_", 2)[2] not in page.content()

    browser.follow("text=Revoke…")
    browser.follow("button:has-text('Revoke')")
    assert "is revoked" in page.content()
    assert page.url == made


def change_a_merchant(browser: Browser, merchant: Merchant) -> None:
    browser.open(f"/admin/payments/merchant/{merchant.pk}/change/")
    browser.page.fill("#id_fraud_weights", '{"no_such_rule": 1}')
    browser.follow("button[name=_save]")
    assert "there is no fraud rule" in browser.page.content()
    browser.page.fill("#id_fraud_weights", '{"country_mismatch": 0.4}')
    browser.follow("button[name=_save]")
    merchant.refresh_from_db()
    assert merchant.fraud_weights == {"country_mismatch": 0.4}
