from pathlib import Path

import pytest

from alerts_audit.tests.seal.trails import Trail, fill
from fintech.testing.databases import TEMPLATE


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
def trail(sealed: Trail, tmp_path: Path) -> Trail:
    """A clean trail, to be tampered with."""
    return sealed.copy(tmp_path / "audit")


@pytest.fixture
def new_trail(pristine: Trail, tmp_path: Path) -> Trail:
    """An empty one."""
    return pristine.copy(tmp_path / "new")
