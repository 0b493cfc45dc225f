from collections.abc import Iterator

import pytest

from loadtests.drill.monitoring import is_installed
from observability.tests.lab import Lab, running_lab


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run half a minute of traffic under real monitoring, once for all tests that use it."""
    if not is_installed():
        pytest.skip("Prometheus and Alertmanager are not both installed")
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
