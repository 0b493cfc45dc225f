"""Each error becomes a problem document with a stable code, or a plain 500 that says nothing about us."""

import json
import logging

import psycopg
import psycopg_pool
import pytest
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied, RequestDataTooBig
from django.db import DataError, InterfaceError, OperationalError, ProgrammingError
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions

from fintech.http.problems import Problem, exception_handler
from fintech.telemetry.logging import request_id


def answer(error: Exception):
    response = exception_handler(error, {})
    assert response["Content-Type"] == "application/problem+json"
    return response, json.loads(response.content)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Problem(422, "invalid_value", "Wrong.", param="amount"), 422, "invalid_value"),
        (Http404("secret"), 404, "not_found"),
        (exceptions.NotFound("secret"), 404, "not_found"),
        (PermissionDenied("secret"), 403, "forbidden"),
        (exceptions.PermissionDenied("secret"), 403, "forbidden"),
        (RequestDataTooBig("secret"), 413, "body_too_large"),
        (DisallowedHost("secret"), 400, "bad_request"),
        (BadRequest("secret"), 400, "bad_request"),
        (MultiPartParserError("secret"), 400, "bad_request"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.ParseError(), 400, "parse_error"),
        (exceptions.UnsupportedMediaType("a/b"), 415, "unsupported_media_type"),
        (OperationalError("secret"), 503, "database_unavailable"),
        (InterfaceError("secret"), 503, "database_unavailable"),
        (psycopg.OperationalError("secret"), 503, "database_unavailable"),
        (psycopg.InterfaceError("secret"), 503, "database_unavailable"),
        (psycopg.errors.AdminShutdown("secret"), 503, "database_unavailable"),
        (psycopg.errors.QueryCanceled("secret"), 503, "database_unavailable"),
        (psycopg_pool.PoolTimeout("secret"), 503, "database_unavailable"),
        (ValueError("secret"), 500, "internal_error"),
        (DataError("secret"), 500, "internal_error"),
        (ProgrammingError("secret"), 500, "internal_error"),
        (psycopg.errors.UniqueViolation("secret"), 500, "internal_error"),
    ],
)
def test_each_error_has_its_status_and_code(error, status, code):
    response, body = answer(error)

    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["type"] == f"urn:problem:{code}"
    assert body["title"]
    assert "secret" not in response.content.decode()


def test_a_problem_names_its_parameter_and_the_request():
    token = request_id.set("r-1")
    try:
        body = json.loads(
            Problem(422, "invalid_value", "Wrong.", param="amount", headers={"A": "b"}).response().content
        )
    finally:
        request_id.reset(token)

    assert body == {
        "type": "urn:problem:invalid_value",
        "title": "Unprocessable Content",
        "status": 422,
        "code": "invalid_value",
        "detail": "Wrong.",
        "param": "amount",
        "request_id": "r-1",
    }


@pytest.mark.parametrize(
    ("wait", "seconds"), [(None, "1"), (0.001, "1"), (1, "1"), (1.001, "2"), (59.2, "60"), (1999, "1999")]
)
def test_a_throttled_client_gets_whole_seconds_that_are_enough(wait, seconds):
    response, body = answer(exceptions.Throttled(wait))

    assert (response.status_code, body["code"]) == (429, "too_many_requests")
    assert response["Retry-After"] == seconds


def test_a_lost_database_asks_for_the_same_key_again():
    response, body = answer(OperationalError())

    assert response["Retry-After"] == "1"
    assert "retry with the same key" in body["detail"]


def test_an_unexpected_error_is_logged_with_its_traceback(caplog):
    with caplog.at_level(logging.INFO):
        answer(ValueError("secret"))
        answer(Problem(422, "invalid_value", "Wrong."))
        answer(OperationalError("secret"))

    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        ("unexpected_error", True),
        ("database_unavailable", False),
    ]
