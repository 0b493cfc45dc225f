import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts_audit.tests.seal.trails import Trail, empty_trail, fill


@pytest.fixture(scope="session")
def pristine() -> Iterator[Trail]:
    """Migrated, and empty."""
    place = Path(tempfile.mkdtemp(prefix="fintech-seal-"))
    place.chmod(0o755)
    try:
        with empty_trail(place) as trail:
            yield trail
    finally:
        shutil.rmtree(place, ignore_errors=True)


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
