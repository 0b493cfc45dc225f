"""A filled database for each process that runs these tests, and a copy of it for each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fintech.testing.databases import drop_database
from payments.tests.archive.books import Books


@pytest.fixture(scope="package")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    books = Books.make(tmp_path_factory.mktemp("filled"))
    yield books
    drop_database(books.name)


@pytest.fixture(scope="package")
def archived(filled: Books, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Books after an archive run, for tests that only look at them."""
    copy = filled.copy(tmp_path_factory.mktemp("archived") / "archives")
    copy.archive()
    yield copy
    drop_database(copy.name)


@pytest.fixture
def books(filled: Books, tmp_path: Path) -> Iterator[Books]:
    copy = filled.copy(tmp_path / "archives")
    yield copy
    drop_database(copy.name)
