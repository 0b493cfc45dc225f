"""Common fixtures of payments' tests: a separate merchant, and one real platform per module."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from django.db import connections

from fintech.testing.processes import Platform
from loadtests.tests.simulator import Simulator, running_gateway
from payments.api_keys import create_api_key
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.registry import gateways
from payments.models import ApiKey, Merchant
from payments.tests.shop import Shop

ALL_SCOPES = list(ApiKey.Scope.values)


@pytest.fixture
def merchant() -> Merchant:
    return Merchant.objects.create(name=f"Merchant {secrets.token_hex(12)}", country="DE")


@dataclass
class Client:
    """A merchant with a key, and calls on its behalf."""

    platform: Platform
    merchant: Merchant
    api_key: str

    def pay(self, amount: int = 1250, currency: str = "EUR", *, key: str | None = None, **fields: object):
        body = {"amount": amount, "currency": currency, "customer": "c_1", **fields}
        return self.post("/v1/transactions", body, key=key or secrets.token_hex(12))

    def refund(self, transaction: str, amount: int | None = None, *, key: str | None = None):
        body = {} if amount is None else {"amount": amount}
        return self.post(f"/v1/transactions/{transaction}/refunds", body, key=key or secrets.token_hex(12))

    def post(self, path: str, body: object, *, key: str | None = None, **options):
        return self.platform.request("POST", path, body, api_key=self.api_key, key=key, **options)

    def get(self, path: str):
        """`path` may be a whole address, as `next` of a list is."""
        return self.platform.request("GET", path.removeprefix(self.platform.url), api_key=self.api_key)


def run_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as simulator:
        yield simulator


def run_platform(tmp_path_factory: pytest.TempPathFactory, gateway: Simulator) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform"), gateway=gateway) as running:
        yield running


# A folder whose tests have merchants of their own shares these: `api/conftest.py`, `authorizations/conftest.py`.
gateway = pytest.fixture(scope="module")(run_gateway)
platform = pytest.fixture(scope="module")(run_platform)


@pytest.fixture
def make_client(platform: Platform) -> Callable[[], Client]:
    def make() -> Client:
        merchant = Merchant.objects.create(name=f"Merchant {secrets.token_hex(12)}", country="DE")
        _, secret = create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)
        return Client(platform, merchant, secret)

    return make


@pytest.fixture
def client(make_client: Callable[[], Client]) -> Client:
    return make_client()


@pytest.fixture
def shop(gateway: Simulator, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A merchant whose payments are made in this process, at the module's simulator."""
    monkeypatch.setitem(gateways.made, "simulator", HttpGateway(gateway.url, gateway.token))
    return Shop.open()


UNBALANCED = "SELECT event_id FROM payments_ledgerleg GROUP BY event_id, currency HAVING sum(amount) <> 0"


@pytest.fixture
def tamper() -> Iterator[Callable[..., None]]:
    """Run a statement as a superuser for whom no trigger fires. Other tests find balanced books again."""
    owner = connections["owner"].get_connection_params()
    wanted = {name: owner[name] for name in ("dbname", "host", "port") if owner.get(name)}

    def run(statement: str, *values: Any) -> None:
        with psycopg.connect(**wanted, user="postgres") as opened:
            opened.execute("SET session_replication_role = replica")
            opened.execute(statement, values[0] if values and isinstance(values[0], dict) else values)

    yield run
    run(f"DELETE FROM payments_ledgerleg WHERE event_id IN ({UNBALANCED})")
