"""The findings that runbooks quote are those that a verification of the projection reports."""

import re
from pathlib import Path

import pytest

from alerts_audit import projection
from fintech.settings import BASE_DIR

RUNBOOKS = BASE_DIR / "observability" / "runbooks"
SOURCES = "".join(path.read_text(encoding="utf-8") for path in Path(projection.__path__[0]).glob("*.py"))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("AuditBroken", {"does not exist", "missing", "differ from what archive"}),
        ("AlertProjectionLagging", {"is pending, but does not exist"}),
    ],
)
def test_the_findings_that_a_runbook_quotes_are_reported_with_these_words(name, texts):
    lines = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8").splitlines()
    prose = " ".join(line.strip() for line in lines if not line.startswith("    "))  # the rest are commands and queries

    assert set(re.findall(r'"([^"]+)"', prose)) == texts
    assert [text for text in texts if text not in SOURCES] == []
