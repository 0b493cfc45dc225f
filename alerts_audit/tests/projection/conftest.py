from collections.abc import Iterator

import pytest

from alerts_audit.tests.projection.trail import Trail
from fintech.testing.databases import drop_database, own_database


@pytest.fixture(scope="session")
def database(django_db_setup: None, django_db_blocker) -> Iterator[str]:
    """Migrated, and only of these tests: the projector and a rebuild look at all inputs there are. Its name."""
    with django_db_blocker.unblock():
        yield own_database()


@pytest.fixture
def trail(database: str, tmp_path) -> Iterator[Trail]:
    """A cluster of its own, in that database."""
    with Trail(database).used(tmp_path) as made:
        yield made


@pytest.fixture
def lone_trail(django_db_blocker, tmp_path) -> Iterator[Trail]:
    """The same in a database where nothing else is."""
    name = own_database()
    with django_db_blocker.unblock(), Trail(name).used(tmp_path) as made:
        yield made
    drop_database(name)
