"""docs/api.md names every error code, every field of a payment and every fraud rule, and no other."""

import re
from pathlib import Path

from fintech.errors import DATABASE_UNAVAILABLE
from fintech.server.connections import NOT_STORED
from fintech.server.worker_class import MALFORMED, REFUSALS
from payments import errors
from payments.api.responses import STATUS_CODES
from payments.fraud.rules import RULES
from payments.schemas import PaymentInput

STATUS_CODES_BY_NAME = {error.__name__: status for error, status in STATUS_CODES.items()}
ROOT = Path(__file__).resolve().parents[3]
CODE = [
    path
    for app in ("fintech", "payments")
    for path in (ROOT / app).rglob("*.py")
    if not {"tests", "run", "testing", "health.py"} & set(path.relative_to(ROOT).parts)
]
# Not the merchants' API's: those of `/health` and its like, and of `POST /gateway/events`.
ELSEWHERE = {"forbidden", "invalid_signature"}
OTHER_FORMS = {"missing_field", "unknown_field"}  # chosen by what msgspec found


def codes_in_code() -> set[str]:
    classes = "|".join(STATUS_CODES_BY_NAME)
    calls = re.compile(rf'(?:(?:Problem|problem)\(\s*\d{{3}},\s*|(?:{classes}|super\(\).__init__)\(\s*)"([a-z_]+)",')
    found = {code for path in CODE for code in calls.findall(path.read_text())}
    found |= {code for _, code, _ in (*REFUSALS.values(), MALFORMED)} | {DATABASE_UNAVAILABLE[0], NOT_STORED[0]}
    return (found | OTHER_FORMS) - ELSEWHERE


def codes_in_document() -> set[str]:
    document = (ROOT / "docs" / "api.md").read_text()
    table = document[document.index("| status | codes |") :]
    rows = [line for line in table.splitlines() if re.match(r"\| \d", line)]
    return {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}


def table(header: str) -> list[list[str]]:
    """Return the rows of the table of the document that has this header."""
    document = (ROOT / "docs" / "api.md").read_text()
    rows = document[document.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_error_code_is_documented():
    assert codes_in_code() - codes_in_document() == set()


def test_every_documented_error_code_exists():
    assert codes_in_document() - codes_in_code() == set()


def test_every_error_has_a_status():
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PaymentError)}

    assert kinds - {errors.PaymentError} == set(STATUS_CODES)


def test_every_field_of_a_payment_is_documented_and_no_other():
    named = {name for fields, _ in table("| field | content |") for name in re.findall(r"`([a-z_]+)`", fields)}

    assert named == set(PaymentInput.__struct_fields__)


def test_every_fraud_rule_is_documented_with_its_weight():
    documented = {name.strip("`"): float(weight) for name, weight, _ in table("| rule | weight by default |")}

    assert documented == {name: weight for name, (weight, _) in RULES.items()}
