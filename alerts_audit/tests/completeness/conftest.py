from collections.abc import Iterator

import pytest

from alerts_audit.models import Source
from alerts_audit.sources.tokens import DEFAULT_SOURCE


@pytest.fixture(autouse=True)
def _no_other_sources() -> Iterator[None]:
    """The worker asks every active source; those of other tests do not answer any more."""
    others = Source.objects.exclude(name=DEFAULT_SOURCE).filter(is_active=True)
    keys = list(others.values_list("pk", flat=True))
    others.update(is_active=False)
    yield
    Source.objects.filter(pk__in=keys).update(is_active=True)
