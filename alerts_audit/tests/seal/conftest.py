from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts_audit.tests.seal.trails import Trail, fill
from fintech.testing.databases import TEMPLATE, drop_database


@pytest.fixture(scope="session")
def pristine(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Trail:
    """Migrated, and empty."""
    return Trail(TEMPLATE, tmp_path_factory.mktemp("seal") / "audit")


@pytest.fixture(scope="session")
def sealed(pristine: Trail) -> Trail:
    """A clean trail, for copies."""
    trail = pristine.copy(pristine.directory.with_name("sealed"))
    with trail.used():
        fill()
    return trail


@pytest.fixture
def trail(sealed: Trail, tmp_path: Path) -> Iterator[Trail]:
    """A clean trail, to be tampered with."""
    copy = sealed.copy(tmp_path / "audit")
    yield copy
    drop_database(copy.name)


@pytest.fixture
def new_trail(pristine: Trail, tmp_path: Path) -> Iterator[Trail]:
    """An empty one."""
    copy = pristine.copy(tmp_path / "new")
    yield copy
    drop_database(copy.name)
