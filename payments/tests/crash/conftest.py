"""The gateways under which processes die: the simulator, and, in slow tests, the fake of Stripe."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.tests.simulator import FakeStripe, Simulator, running, running_gateway

SECRET = "whsec_of_stripe"
BOTH = ("simulator", pytest.param("stripe", marks=pytest.mark.slow))

at_both = pytest.mark.parametrize("gateway", BOTH, indirect=True)


@pytest.fixture(scope="module")
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    process = FakeStripe if request.param == "stripe" else Simulator
    with running(process(tmp_path_factory.mktemp("gateway") / "data.sqlite3")) as started:
        yield started


@contextmanager
def routed(gateway: Simulator, directory: Path) -> Iterator[tuple[Simulator, dict[str, str]]]:
    """Yield the default gateway of a platform, and the settings that send all payments to `gateway`."""
    if not isinstance(gateway, FakeStripe):
        yield gateway, {}
        return
    stripe = {"STRIPE_URL": gateway.url, "STRIPE_API_KEY": gateway.token, "STRIPE_WEBHOOK_SECRET": SECRET}
    with running_gateway(directory / "default") as default:
        yield default, stripe | {"GATEWAY_ROUTES": "*=stripe"}
