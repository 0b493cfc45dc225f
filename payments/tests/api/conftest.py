"""One platform for all tests of the API: they look at it from outside, each with merchants of its own."""

import http.client
import secrets
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from fintech.testing.processes import Platform, Reply, wait_until
from loadtests.tests.simulator import Simulator
from payments.api_keys import create_api_key
from payments.models import Dispute, Merchant
from payments.tests.conftest import ALL_SCOPES, Client, run_gateway, run_platform
from payments.tests.consistency import gateway_key

# Not for the whole session: the platform's worker would settle what other tests leave to theirs.
gateway = pytest.fixture(scope="package")(run_gateway)
platform = pytest.fixture(scope="package")(run_platform)


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test finds a simulator without faults, and leaves it so."""
    if not {"gateway", "platform"} & set(request.fixturenames):
        yield
        return
    gateway: Simulator = request.getfixturevalue("gateway")
    control = partial(gateway.request, path="/control/profile", token=gateway.control_token)
    before = control("GET").body
    yield
    if control("GET").body != before:
        control("PUT", body=before)


@pytest.fixture(scope="package")
def exchange(platform: Platform) -> Callable[[bytes], Reply]:
    """Send these very bytes, which need not be HTTP, and read one answer."""

    def send(content: bytes) -> Reply:
        with socket.create_connection(("127.0.0.1", platform.port), timeout=10) as connection:
            connection.sendall(content)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Reply(response.status, response.read(), response.headers)

    return send


@pytest.fixture(scope="package")
def make_shop(platform: Platform) -> Callable[[], Client]:
    """A client for a whole module."""

    def make() -> Client:
        merchant = Merchant.objects.create(name=f"Shop {secrets.token_hex(12)}", country="DE")
        return Client(platform, merchant, create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)[1])

    return make


@pytest.fixture
def open_dispute(platform: Platform, gateway: Simulator, client: Client) -> Iterator[Callable[..., str]]:
    """Dispute a payment at the simulator, and wait until it needs a response here. Returns its id."""
    gateway.profile(events_url=f"{platform.url}/gateway/events")

    def run(payment: str, **fields: object) -> str:
        body = {"charge": gateway_key(payment), **fields}
        answer = gateway.request("POST", "/control/disputes", body, token=gateway.control_token)
        assert answer.status == 201, answer
        rows = Dispute.objects.filter(gateway_key=answer.body["dispute"], status="needs_response")
        wait_until(rows.exists, timeout=60, what="the dispute needs a response")
        return str(rows.get().pk)

    yield run
    waiting = Dispute.objects.filter(merchant=client.merchant, responses__delivered_at=None, responses__isnull=False)
    wait_until(lambda: not waiting.exists(), timeout=60, what="all responses are delivered")


@pytest.fixture
def other_client(make_client: Callable[[], Client]) -> Client:
    return make_client()
