"""docs/logs-and-traces.md names every event that the services log, and no other."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "logs-and-traces.md").read_text(encoding="utf-8")
EVENTS = DOCUMENT[DOCUMENT.index("### Events") : DOCUMENT.index("## Traces")]
CODE = [
    path
    for app in ("fintech", "payments", "alerts_audit")
    for path in (ROOT / app).rglob("*.py")
    if not {"tests", "testing"} & set(path.relative_to(ROOT).parts)
]
LEVELS = {"info": "info", "warning": "warning", "error": "warning", "exception": "warning", "log": "warning"}
LEVELS["makeRecord"] = "info"  # the line of a request


def logged() -> dict[str, str]:
    """Return each event with its level; an event that is logged as a warning, too, is one."""
    found: dict[str, str] = {}
    for path in CODE:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS:
                constants = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
                names = [value for value in constants if isinstance(value, str)]
                if ast.unparse(call.func.value) == "logger" and names:
                    found[names[0]] = max(found.get(names[0], ""), LEVELS[call.func.attr])
    return found


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| (`.*?) \|", EVENTS, re.MULTILINE)
    sentence = EVENTS[EVENTS.index("Lines of the level `info`") :].partition(":")[2]
    in_rows = {name: "warning" for row in rows for name in re.findall(r"`(\w+)`", row)}
    return in_rows | dict.fromkeys(re.findall(r"`(\w+)`", sentence), "info")


def test_the_document_names_each_event_with_its_level():
    assert len(logged()) > 40
    assert documented() == logged()


@pytest.mark.parametrize("event", ["settle_failed", "request", "gateway_event"])
def test_the_search_finds_events_of_each_kind(event: str):
    assert event in logged()
