from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.tests.run.service import LoadTest, Service, running_service


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as service:
        yield service


@pytest.fixture
def load_test(tmp_path: Path, service: Service) -> LoadTest:
    return LoadTest(tmp_path, service.url)
