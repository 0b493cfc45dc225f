"""A merchant that authorizes, captures and voids over HTTP."""

import secrets
from dataclasses import dataclass

import pytest

from fintech.testing.processes import Reply
from payments.tests.conftest import Client, run_gateway, run_platform

PATH = "/v1/transactions"


@dataclass
class Holder:
    """Calls of the operations that follow an authorization."""

    client: Client

    def authorize(self, amount: int = 1000, **fields: object) -> str:
        """Return the id of a new authorized payment."""
        reply = self.client.pay(amount, capture=False, **fields)
        assert (reply.status, reply.body["status"]) == (201, "authorized"), reply.body
        return str(reply.body["id"])

    def capture(self, payment: str, amount: int | None = None, *, final: bool = True, key: str | None = None) -> Reply:
        body = {"final": final} | ({} if amount is None else {"amount": amount})
        return self.client.post(f"{PATH}/{payment}/captures", body, key=key or secrets.token_hex(12))

    def void(self, payment: str, *, key: str | None = None, **fields: object) -> Reply:
        return self.client.post(f"{PATH}/{payment}/void", fields, key=key or secrets.token_hex(12))

    def read(self, payment: str) -> dict[str, object]:
        reply = self.client.get(f"{PATH}/{payment}")
        assert reply.status == 200, reply.body
        return reply.body

    def amounts(self, payment: str) -> tuple[object, ...]:
        """Return status, amount_authorized, amount_captured and amount_refunded."""
        body = self.read(payment)
        return tuple(body[name] for name in ("status", "amount_authorized", "amount_captured", "amount_refunded"))

    def events(self, payment: str) -> list[str]:
        return [event["type"] for event in self.client.get(f"{PATH}/{payment}/events").body["data"]]


gateway = pytest.fixture(scope="package")(run_gateway)
platform = pytest.fixture(scope="package")(run_platform)


@pytest.fixture
def holder(client: Client) -> Holder:
    return Holder(client)
