"""docs/api.md names every error code, and no other."""

import re
from pathlib import Path

from fintech.server.worker_class import MALFORMED, REFUSALS
from payments import errors
from payments.api.responses import STATUS_CODES

STATUS_CODES_BY_NAME = {error.__name__: status for error, status in STATUS_CODES.items()}
ROOT = Path(__file__).resolve().parents[3]
CODE = [
    path
    for app in ("fintech", "payments")
    for path in (ROOT / app).rglob("*.py")
    if not {"tests", "run", "testing", "health.py"} & set(path.relative_to(ROOT).parts)
]
# Not the merchants' API's: those of the server itself, and of `POST /gateway/events`.
ELSEWHERE = {"forbidden", "internal_error", "invalid_signature"}
OTHER_FORMS = {"missing_field", "unknown_field"}  # chosen by what msgspec found


def codes_in_code() -> set[str]:
    classes = "|".join(STATUS_CODES_BY_NAME)
    calls = re.compile(rf'(?:(?:Problem|problem)\(\s*\d{{3}},\s*|(?:{classes}|super\(\).__init__)\(\s*)"([a-z_]+)"')
    found = {code for path in CODE for code in calls.findall(path.read_text())}
    found |= {code for _, code, _ in (*REFUSALS.values(), MALFORMED)}
    return (found | OTHER_FORMS) - ELSEWHERE


def codes_in_document() -> set[str]:
    document = (ROOT / "docs" / "api.md").read_text()
    table = document[document.index("| status | codes |") :]
    rows = [line for line in table.splitlines() if re.match(r"\| \d", line)]
    return {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}


def test_every_error_code_is_documented():
    assert codes_in_code() - codes_in_document() == set()


def test_every_documented_error_code_exists():
    assert codes_in_document() - codes_in_code() == set()


def test_every_error_has_a_status():
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PaymentError)}

    assert kinds - {errors.PaymentError} == set(STATUS_CODES)
