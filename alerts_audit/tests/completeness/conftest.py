from collections.abc import Iterator

import pytest

from alerts_audit.completeness import side_by_side
from alerts_audit.models import Source
from alerts_audit.projection import project_pending


@pytest.fixture(autouse=True)
def _nothing_of_other_tests() -> Iterator[None]:
    """The worker polls every active source, and judges no alert while deliveries are pending."""
    project_pending()
    asked = Source.objects.filter(is_active=True).exclude(alertmanager_url="", prometheus_url="")
    keys = list(asked.values_list("pk", flat=True))
    asked.update(is_active=False)
    yield
    Source.objects.filter(pk__in=keys).update(is_active=True)


@pytest.fixture(autouse=True)
def _patient_turns(monkeypatch) -> None:
    """A turn waits for every source: the machine may be busy, and a test reads what the turn found."""
    monkeypatch.setattr(side_by_side, "PATIENCE_SECONDS", 60)
