"""Stripe's own events, applied by the worker of a platform: a customer, and a bank.

A file of its own: this worker's resolver would settle the unknown payments of other tests.
"""

from pathlib import Path
from typing import Any

import pytest

from fintech.testing.processes import Platform, wait_until
from loadtests.tests.simulator import FakeStripe, Simulator, running
from payments.gateway.stripe.gateway import StripeGateway
from payments.ledger.reconciliation import reconcile
from payments.tests.authentication.conftest import BACK, HOST, answer_challenge
from payments.tests.conftest import Client
from payments.tests.consistency import settled
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

SECRET = "whsec_of_stripe"
CARD = {"type": "card", "token": "pm_card_visa"}


def test_events_bring_the_answers_of_a_customer_and_of_a_bank(gateway: Simulator, tmp_path: Path) -> None:
    with running(FakeStripe(tmp_path / "stripe.sqlite3", STRIPE_WEBHOOK_SECRET=SECRET)) as fake:
        env = {
            "STRIPE_URL": fake.url,
            "STRIPE_API_KEY": fake.token,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "GATEWAY_ROUTES": "*=stripe",
            "CHALLENGE_POLL_SECONDS": "60",  # later than the event
        }
        with Platform(tmp_path, gateway=gateway, workers=1, env=env) as platform:
            fake.profile(events_url=f"{platform.url}/gateway/events/stripe")
            shop = Shop.open()
            shop.change_merchant(return_hosts=[HOST])
            client = Client(platform, shop.merchant, shop.secret)
            payment = authenticate(client)
            dispute = win_dispute(client, fake, payment["id"])
            settled(shop.merchant)
        findings = reconcile(StripeGateway(fake.url, fake.token), merchants=[shop.merchant.pk]).findings

    assert payment["authentication"] == {"outcome": "authenticated", "liability_shift": "issuer"}
    assert payment["gateway_reference"].startswith("pi_")
    assert [response["outcome"] for response in dispute["responses"]] == ["taken"]
    assert findings == []


def authenticate(client: Client) -> dict[str, Any]:
    """Pay as a customer who accepts a challenge."""
    asked = client.pay(1941, payment_method=CARD, return_url=BACK).body
    assert asked["status"] == "requires_action", asked
    assert answer_challenge(asked["next_action"]["url"], "accept") == 303

    def payment() -> dict[str, Any] | None:
        found = client.get(f"/v1/transactions/{asked['id']}").body
        return found if found["status"] == "succeeded" else None

    return wait_until(payment, timeout=30, what="the event settled the payment")


def win_dispute(client: Client, fake: FakeStripe, payment: str) -> dict[str, Any]:
    """Answer a dispute with evidence, and let the bank decide for the merchant."""
    control = {"token": fake.control_token}
    charge = client.get(f"/v1/transactions/{payment}").body["gateway_reference"]
    theirs = fake.request("POST", "/control/disputes", {"charge": charge}, **control).body["id"]

    def dispute(status: str) -> dict[str, Any] | None:
        found = client.get("/v1/disputes").body["data"]
        return found[0] if found and found[0]["status"] == status else None

    ours = wait_until(lambda: dispute("needs_response"), timeout=30, what="the dispute waits for the merchant")["id"]
    answer = client.post(f"/v1/disputes/{ours}/evidence", {"text": "It was delivered."}, key="evidence-1")
    assert answer.status == 200, answer

    def status() -> str:
        return fake.request("GET", f"/v1/disputes/{theirs}").body["status"]

    wait_until(lambda: status() == "under_review", timeout=30, what="Stripe has the evidence")
    fake.request("POST", f"/control/disputes/{theirs}", {"state": "won"}, **control)
    wait_until(lambda: dispute("won"), timeout=30, what="the dispute is won")
    return client.get(f"/v1/disputes/{ours}").body
