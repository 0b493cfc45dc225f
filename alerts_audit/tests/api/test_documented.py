"""docs/alert-review.md names every path, filter and error code of the trail's API, and no other."""

import re
from pathlib import Path

from alerts_audit import urls
from alerts_audit.admin.dashboard import FINDINGS_STAY, VERIFIED_WITHIN
from alerts_audit.groups import GROUPS
from alerts_audit.selectors.criteria import PARAMETERS

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "alert-review.md").read_text(encoding="utf-8")
CODE = [
    *(ROOT / "alerts_audit" / name for name in ("permissions.py", "api/views.py", "reviews/services.py")),
    ROOT / "fintech" / "http" / "pagination.py",
    ROOT / "fintech" / "http" / "views.py",
]
# Of every REST view (fintech/http/problems.py).
COMMON = {"database_unavailable", "body_too_large"}


def test_every_path_is_documented_and_no_other():
    paths = {"/" + str(pattern.pattern) for pattern in urls.urlpatterns if str(pattern.pattern) != "alert"}
    documented = set(re.findall(r"`(?:GET|POST) (/v1/alerts[^`? ]*)", DOCUMENT))

    assert {path.replace("<str:key>", "{key}") for path in paths} == documented


def test_every_filter_is_documented_and_no_other():
    table = DOCUMENT[DOCUMENT.index("| filter | finds |") : DOCUMENT.index("An episode:")]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if "|" in line]

    assert {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)} == set(PARAMETERS)


def test_every_error_code_is_documented_and_no_other():
    calls = re.compile(
        r"(?:Problem|refused)\(\s*(?:\d{3},\s*)?\"([a-z_]+)\"|code(?:, param)? = (?:\d{3}, )?\"([a-z_]+)\""
    )
    found = {first or second for path in CODE for first, second in calls.findall(path.read_text(encoding="utf-8"))}
    table = DOCUMENT[DOCUMENT.index("| status | codes |") : DOCUMENT.index("## Exports")]

    assert set(re.findall(r"`([a-z_]+)`", table)) == (found | COMMON) - {"invalid_review"}


def test_every_group_is_documented():
    for name in GROUPS:
        assert f"| `{name}` |" in DOCUMENT


def test_the_first_page_worries_for_as_long_as_the_alerts_do():
    rules = (ROOT / "observability" / "prometheus" / "rules" / "integrity.yml").read_text(encoding="utf-8")

    assert f"max_over_time(audit_verification_findings[{FINDINGS_STAY.total_seconds() / 3600:.0f}h]) > 0" in rules
    assert f"audit_last_verification_timestamp_seconds > {VERIFIED_WITHIN.total_seconds():.0f}" in rules
