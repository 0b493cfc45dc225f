"""Rules that a JSON Schema cannot express, so that schemathesis does not report them: see test_schema.py."""

import os
import secrets
from typing import Any

import schemathesis


def whole(value: Any) -> Any:
    """To JSON Schema 1.0 is an integer; to us it is a float, which no amount may be."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: whole(inner) for name, inner in value.items()}
        case list():
            return [whole(inner) for inner in value]
    return value


CURSORS = {
    "list_transactions": "CURSOR",
    "list_events": "EVENT_CURSOR",
}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A valid request has a key that was never used before, a cursor that the list wrote, and a listed return host."""
    if case.meta is not None and case.meta.generation.mode.is_positive:
        case.body = whole(case.body)
        if isinstance(case.body, dict) and isinstance(case.body.get("return_url"), str):
            case.body["return_url"] = os.environ["RETURN_URL"]
        if "Idempotency-Key" in (case.headers or {}):
            case.headers["Idempotency-Key"] = secrets.token_hex(12)
        if "cursor" in (case.query or {}):
            operation = case.operation.definition.raw["operationId"]
            if operation in CURSORS:
                case.query["cursor"] = os.environ[CURSORS[operation]]
            else:  # it belongs to the list of one payment or endpoint
                del case.query["cursor"]
