"""A merchant whose customers are challenged, and the customer at the gateway's page."""

import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import pytest
from django.db.models.functions import Now

from loadtests.tests.simulator import Simulator
from payments.models import Authentication, Transaction
from payments.services.challenges import poll_due
from payments.tests.consistency import check_books, gateway_key
from payments.tests.gateway_events.conftest import Sender, refusals, sender
from payments.tests.shop import Shop

__all__ = ["refusals", "sender"]

CHALLENGED, FRICTIONLESS, EXEMPT = 1941, 1942, 1943
HOST = "shop.example"
BACK = f"https://{HOST}/back?order=7"


def answer_challenge(url: str, answer: str) -> int:
    """Answer as the customer does: accept, refuse or abandon. Returns the page's status."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=30)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", place.path, urlencode({"answer": answer}), form)
    status = connection.getresponse().status
    connection.close()
    return status


def poll(payment: UUID) -> None:
    """Let this payment be due, and take worker's turns until none is."""
    Authentication.objects.filter(transaction_id=payment, outcome=None).update(due_at=Now())
    with ThreadPoolExecutor(2) as threads:
        while poll_due(threads):
            pass


def state(payment: UUID) -> tuple[str, str | None, str | None]:
    """Return the payment's status, and the result and the liability of its authentication."""
    row = Transaction.objects.get(id=payment)
    found = row.customer_authentication
    return (row.status, found.outcome, found.liability_shift) if found else (row.status, None, None)


@pytest.fixture
def secured(shop: Shop) -> Shop:
    """The shop of `shop`, which lists a return host."""
    shop.change_merchant(return_hosts=[HOST])
    return shop


@dataclass
class Customer:
    """A customer of the shop, whose payments are challenged at the gateway."""

    shop: Shop
    gateway: Simulator
    sender: Sender

    def challenge(self, amount: int = CHALLENGED, **fields: object) -> tuple[UUID, str]:
        """Make a payment that waits for its customer. Returns its id and the address of the challenge."""
        payment = self.shop.pay(amount, return_url=BACK, **fields).body
        assert payment.status == "requires_action", payment
        return payment.id, payment.next_action.url

    def send_decision(
        self, payment: UUID, kind: str = "charge", named: str | None = None, **changes: object
    ) -> list[str | None]:
        """Send the gateway's own record as an event, and process it. Returns the outcomes of this sender's events."""
        names = ("key", "outcome", "amount", "currency", "reference", "code", "authentication")
        found = self.gateway.request("GET", f"/v1/{kind}s/{gateway_key(payment)}").body
        data = {name: found[name] for name in names if name in found} | changes
        self.sender.send(f"{named or kind}.decided", data)
        return self.sender.process()

    def check_books(self) -> None:
        check_books(self.gateway, self.shop.merchant)


@pytest.fixture
def customer(secured: Shop, gateway: Simulator, sender: Sender) -> Customer:
    return Customer(secured, gateway, sender)
