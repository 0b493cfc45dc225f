from collections.abc import Iterator

import pytest

from loadtests.tests.simulator import Simulator, running_gateway


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Simulator) -> Simulator:
    """One process for all the tests of a module, with its default profile. A test uses keys of its own."""
    shared_gateway.request("PUT", "/control/profile", {}, token=shared_gateway.control_token)
    return shared_gateway


@pytest.fixture
def own_gateway(tmp_path) -> Iterator[Simulator]:
    """A process that the test may kill."""
    with running_gateway(tmp_path) as gateway:
        yield gateway
