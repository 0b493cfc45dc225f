"""The formatter and what it keeps quiet about. That real processes do so is proved in payments/tests/api."""

import json
import logging
import subprocess
import sys
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.core.exceptions import DisallowedHost
from django.db import IntegrityError, connection
from django.test import RequestFactory

from fintech.telemetry.logging import JsonFormatter, WithoutRequest, accept_request_id, redact, request_id, trace_id
from fintech.testing.processes import BASE_DIR

SECRET = "fk_abcdefgh_" + "x" * 43
SECRETS = [SECRET, SECRET.replace("fk", "src"), SECRET.replace("fk", "tr")]


@pytest.fixture(autouse=True)
def _between_requests() -> None:
    """A request that another test made in this process has left its ids behind."""
    request_id.set(None)
    trace_id.set(None)


def line(
    message: str = "event", *arguments: Any, exc_info: Any = None, name: str = "test", **extra: Any
) -> dict[str, Any]:
    record = logging.LogRecord(name, logging.INFO, __file__, 1, message, arguments, exc_info)
    record.__dict__.update(extra)
    if not WithoutRequest().filter(record):
        return {}
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_is_one_object_with_time_level_logger_and_event():
    found = line("%s of %d", "one", 2, items=3)

    assert found.pop("time").endswith("+00:00")
    assert found == {"level": "INFO", "logger": "test", "event": "one of 2", "items": 3}


def test_a_line_knows_its_request():
    tokens = request_id.set("r-1"), trace_id.set("t-1")
    try:
        found = line()
    finally:
        request_id.reset(tokens[0])
        trace_id.reset(tokens[1])

    assert (found["request_id"], found["trace_id"]) == ("r-1", "t-1")
    assert "request_id" not in line()


@pytest.mark.parametrize(
    "value", [2**70, "half a pair \ud800", {1: 2}, Decimal("1.5"), object(), b"\xff", float("nan"), "\0", {"a": {3}}]
)
def test_whatever_is_given_becomes_one_line_of_json(value):
    assert "value" in line(value=value)
    assert line("%s", value)["event"]


def test_an_exception_is_kept_with_its_traceback():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = line(exc_info=sys.exc_info())

    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize("word", ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", *SECRETS])
def test_card_numbers_and_keys_are_masked_wherever_they_are(word):
    try:
        raise ValueError(f"wrong: {word}")
    except ValueError:
        found = line(f"got {word}", exc_info=sys.exc_info(), field=word, nested={"a": [word]}, **{f"name {word}": 1})

    text = json.dumps(found)
    assert word not in text
    assert SECRET[12:] not in text


def test_a_bearer_token_is_masked_whosever_it_is():
    assert redact('{"header":"Bearer abc.def-ghi"}') == '{"header":"Bearer [secret]"}'


def test_email_addresses_that_an_exception_quotes_are_masked():
    try:
        raise ValueError("invalid literal for int(): 'jane.doe@example.com'")
    except ValueError as error:
        found = line("failed for <jane@example.com>", exc_info=sys.exc_info(), error=str(error))

    assert "jane" not in json.dumps(found)
    assert found["exception"].endswith("ValueError: invalid literal for int(): '[e-mail address]'")
    assert found["event"] == "failed for <[e-mail address]>"


def violation() -> tuple[Any, Any, Any]:
    """An error of the database that quotes a row, as Django raises it."""
    statement = (
        "INSERT INTO payments_refund (id, transaction_id, idempotency_key, amount, reason, status)"
        " VALUES (gen_random_uuid(), gen_random_uuid(), 'k', -1, 'jane@example.com', 'processing')"
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except IntegrityError:
        return sys.exc_info()
    raise AssertionError("the database let it through")


def test_the_row_that_postgresql_quotes_is_left_out():
    error = violation()
    assert "jane@example.com" in str(error[1]), "or this test proves nothing"

    found = line("failed", exc_info=error, error=str(error[1]))

    assert "jane@example.com" not in json.dumps(found)
    assert "DETAIL" not in json.dumps(found)
    assert "refund_amount_positive" in found["exception"]
    assert found["exception"].count("Traceback") == 2
    assert "django.db.utils.IntegrityError" in found["exception"]
    assert issubclass(error[0], IntegrityError)
    assert isinstance(error[1].__cause__, psycopg.errors.CheckViolation)


@pytest.mark.parametrize("name", ["django.request", "django.security.csrf", "django.security.DisallowedHost"])
def test_djangos_own_lines_lose_the_path_and_the_query(name):
    request = RequestFactory().get("/jane@example.com?card=4111111111111111")
    try:
        raise DisallowedHost("jane@example.com")
    except DisallowedHost:
        found = line("Error: %s", request.path, exc_info=sys.exc_info(), name=name, request=request, status_code=500)

    assert (found["event"], found["status_code"]) == ("unexpected_error", 500)
    assert "request" not in found


def test_djangos_line_about_an_answer_is_left_out_because_of_ours():
    assert line("Service Unavailable: %s", "/jane", name="django.request", status_code=503) == {}
    assert line("Forbidden: %s", "/jane", name="django.security.csrf")["event"] == "refused"


@pytest.mark.parametrize("header", ["a", "A-1.b_c", "x" * 64])
def test_a_plain_request_id_is_accepted(header):
    assert accept_request_id(header) == header


@pytest.mark.parametrize("header", [None, "", "x" * 65, "a b", "a\n", "ä", "4111111111111111", *SECRETS, "a/b", "a;b"])
def test_any_other_request_id_is_replaced(header):
    assert accept_request_id(header) != header
    assert len(accept_request_id(header)) == 36


# --- Writing ------------------------------------------------------------------------------------------------


@pytest.mark.processes
def test_a_program_without_django_does_not_load_it_for_its_lines():
    code = "import sys, fintech.telemetry.logging; print({'django.db', 'django.http', 'psycopg'} & sys.modules.keys())"

    ended = subprocess.run([sys.executable, "-c", code], cwd=BASE_DIR, capture_output=True, text=True, check=True)

    assert ended.stdout == "set()\n"
