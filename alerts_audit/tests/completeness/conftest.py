from collections.abc import Iterator

import pytest

from alerts_audit.models import Source


@pytest.fixture(autouse=True)
def _no_other_servers() -> Iterator[None]:
    """The worker asks the servers of every active source; those of other tests do not answer any more."""
    asked = Source.objects.filter(is_active=True).exclude(alertmanager_url="", prometheus_url="")
    keys = list(asked.values_list("pk", flat=True))
    asked.update(is_active=False)
    yield
    Source.objects.filter(pk__in=keys).update(is_active=True)
