"""Errors as RFC 9457 problem+json: a stable `code`, the wrong parameter, and the request's id.

Raise `Problem` anywhere below a REST view; `exception_handler` (REST framework's hook) turns it and all other
exceptions into the response. Plain Django views return `problem(...)`.
"""

import logging
import math
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions

from fintech.cards import mask_card_numbers
from fintech.errors import DATABASE_UNAVAILABLE, is_database_error
from fintech.telemetry.logging import request_id

logger = logging.getLogger("fintech.http.problems")

# As RFC 9110 names them. Python does so since 3.13, and an answer must not depend on the version.
TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


class Problem(Exception):
    """An error for the client: `code` is stable, `detail` is for people, `param` names the field.

    The last two may quote the client, such as the name of an unknown field: never a card number.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail := mask_card_numbers(detail))
        self.status, self.code, self.detail = status, code, detail
        self.param = None if param is None else mask_card_numbers(param)
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        document = {
            "type": f"urn:problem:{self.code}",
            "title": TITLES.get(self.status) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id.get(),
        }
        return document if self.param is None else {**document, "param": self.param}

    def response(self) -> HttpResponse:
        return HttpResponse(
            orjson.dumps(self.body()),
            status=self.status,
            content_type="application/problem+json",
            headers=dict(self.headers),
        )


def problem(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return Problem(status, code, detail, headers=headers).response()


def database_unavailable() -> Problem:
    return Problem(503, *DATABASE_UNAVAILABLE, headers={"Retry-After": "1"})


def disallowed_host() -> Problem:
    return Problem(400, "bad_request", "The Host header names a host that is not in ALLOWED_HOSTS.")


def as_problem(error: Exception) -> Problem | None:
    """Convert `error` for the client; None for a fault of our own."""
    match error:
        case Problem():
            return error
        case Http404() | exceptions.NotFound():
            return Problem(404, "not_found", "No such resource exists.")
        case PermissionDenied() | exceptions.PermissionDenied():
            return Problem(403, "forbidden", "You do not have permission for this.")
        case RequestDataTooBig():
            return Problem(413, "body_too_large", "The body is larger than 4 MiB.")
        case DisallowedHost():
            return disallowed_host()
        case SuspiciousOperation() | BadRequest() | MultiPartParserError():
            return Problem(400, "bad_request", "The request is malformed.")
        case exceptions.Throttled():
            # Whole seconds, rounded up: a slightly early retry would be refused again.
            seconds = getattr(error, "wait", None) or 1
            headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
            return Problem(
                429,
                "too_many_requests",
                "This API key sends too many requests: wait for Retry-After seconds.",
                headers=headers,
            )
        case exceptions.MethodNotAllowed():
            return Problem(405, "method_not_allowed", str(error.detail))
        case exceptions.APIException():
            return Problem(error.status_code, error.default_code, str(error.detail))
        case _ if is_database_error(error):
            return database_unavailable()
    return None


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """Handle exceptions for REST framework. An unexpected one is logged, and answered with a plain 500."""
    known = as_problem(error)
    if known is None:
        logger.error("unexpected_error", exc_info=error)
        known = Problem(500, "internal_error", "An internal error occurred. It was logged.")
    elif is_database_error(error):
        logger.warning("database_unavailable", extra={"error": type(error).__name__})
    response = known.response()
    # Every 405 has `Allow`.
    if known.status == HTTPStatus.METHOD_NOT_ALLOWED and "view" in context:
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


# Handlers of Django (fintech/urls.py), for paths without a view.
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem(404, "not_found", "Nothing exists at this path.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem(400, "bad_request", "The request is malformed.")


def server_error(request: HttpRequest) -> HttpResponse:
    # A form whose body could not be stored: Django reads it before any view or exception handler.
    if isinstance(error := sys.exception(), Problem):
        return error.response()
    return problem(500, "internal_error", "An internal error occurred. It was logged.")
