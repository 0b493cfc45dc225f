"""Structured logs: one JSON object per line on stdout, never with a card number, a key or personal data.

`extra={...}` fields become keys of the line. Data from a client is logged only in chosen fields, and the finished line
is searched once more for card numbers and our keys; one with an exception, which may quote anything, also for e-mail
addresses.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
from uuid_utils import uuid7

from fintech.cards import mask_card_numbers
from fintech.response_headers import set_plain
from fintech.telemetry import tracing
from fintech.tokens import KINDS

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse  # programs without Django write such lines, too

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECRETS = re.compile(rf"((?:{'|'.join(KINDS)})[0-9a-z]{{8}})_[\w-]+|(Bearer) [^\s\"]+")
# Each of them contains one of these, which are found a hundred times as fast.
_SIGNS = (*KINDS, "Bearer ")

# In a JSON text: from there to the end of the error's own message.
_DETAILS = re.compile(r"\\n(?:DETAIL|CONTEXT):(?:(?!\\n\\n(?:The above exception|During handling))(?:[^\"\\]|\\.))*")

# A name of these characters, "@" (perhaps encoded for an address) and a domain with a dot.
_NAME = r"[^\s@\"'<>()\[\]{},;:=&?/\\|]"
_EMAIL_ADDRESS = re.compile(rf"(?<!{_NAME}){_NAME}+(?:@|%40)(?:[\w-]+\.)+[^\W\d_][\w-]*")

logger = logging.getLogger("fintech.request")

# A line of ours says none of this, and finding it out takes a tenth of the line's time (see logging's "Optimization").
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
logging._srcfile = None


# Every record gets these attributes first. The others came with `extra`, or from another handler's formatter.
_ALWAYS = len(vars(logging.makeLogRecord({})))
_OF_FORMATTERS = ("message", "asctime")


class JsonFormatter(logging.Formatter):
    """Our own formatter with orjson: a line takes a third of python-json-logger's time, once per request."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, variable in (("request_id", request_id), ("trace_id", trace_id)):
            if (value := variable.get()) is not None:
                line[name] = value
        line.update(islice(record.__dict__.items(), _ALWAYS, None))
        for name in _OF_FORMATTERS:
            line.pop(name, None)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
            line = {name: mask_email_addresses(text) if type(text) is str else text for name, text in line.items()}
        return redact(encode(line))


def write_json_lines(level: str = "INFO") -> None:
    """Log JSON lines to standard output from a program without Django's settings, unless it logs already."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler])


def encode(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return json.dumps(line, default=str)


def redact(line: str) -> str:
    """Return `line` without card numbers, secrets and rows quoted by PostgreSQL: the last protection for exceptions."""
    if "DETAIL:" in line or "CONTEXT:" in line:
        line = _DETAILS.sub("", line)
    if any(map(line.__contains__, _SIGNS)):
        line = _SECRETS.sub(r"\1\2 [secret]", line)
    return mask_card_numbers(line)


def mask_email_addresses(text: str) -> str:
    """Replace each e-mail address: in a text that a person or a library wrote. Our own lines would only take longer."""
    return _EMAIL_ADDRESS.sub("[e-mail address]", text)


class WithoutRequest(logging.Filter):
    """A filter of Django's own lines, which quote paths and queries with any content; ours contain the rest."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith(("django.request", "django.security")):
            if record.exc_info is None and record.name == "django.request":
                return False  # the same as `request`, which RequestLogMiddleware logs
            record.msg, record.args = "unexpected_error" if record.exc_info else "refused", ()
            record.__dict__.pop("request", None)
        return True


def accept_request_id(header: str | None) -> str:
    """Return the client's X-Request-ID if it is short, plain and no card number or key, otherwise a new one."""
    if header and _REQUEST_ID.fullmatch(header) and redact(header) == header:
        return header
    return str(uuid7())


# Programs poll these every few seconds, and their traces are not useful.
PROBED = frozenset(["/health", "/ready", "/metrics"])


def caller_of(request: "HttpRequest") -> str | None:
    """Return the caller's trace, if tracing is off."""
    parent = tracing.parse(request.META.get("HTTP_TRACEPARENT"))
    return parent[0] if parent else None


class RequestLogMiddleware:
    """Middleware that gives each request an id and a trace, returns the id, and logs the request after its answer."""

    def __init__(self, get_response: "Callable[[HttpRequest], HttpResponse]") -> None:
        self.get_response = get_response

    def __call__(self, request: "HttpRequest") -> "HttpResponse":
        start = time.perf_counter()
        identifier = accept_request_id(request.META.get("HTTP_X_REQUEST_ID"))
        request_id.set(identifier)
        trace = tracing.begin(request.META.get("HTTP_TRACEPARENT")) if request.path not in PROBED else None
        trace_id.set(trace.trace_id if trace else caller_of(request))
        request.log_fields = {}  # type: ignore[attr-defined]
        response = self.get_response(request)
        set_plain(response, "X-Request-ID", identifier)
        if not response.streaming:  # CommonMiddleware would, where a browser is; without it gunicorn sends chunks
            if "Content-Length" not in response.headers:
                set_plain(response, "Content-Length", str(len(response.content)))
            if request.method == "HEAD":
                response.content = b""
        method = request.method if request.method in _METHODS else "other"
        # The route, not the path, which can contain any text.
        route = request.resolver_match.route if request.resolver_match else None
        _log_request(
            {
                "method": method,
                "route": route,
                "status_code": response.status_code,
                "duration_ms": round((time.perf_counter() - start) * 1000, 2),
                **request.log_fields,  # type: ignore[attr-defined]
            }
        )
        attributes: tracing.Attributes = {
            "http.request.method": method,
            "http.route": route or "unknown",
            "http.response.status_code": response.status_code,
            "request.id": identifier,
        }
        tracing.finish(trace, f"{method} {route or 'unknown'}", attributes, failed=response.status_code >= 500)
        return response


def _log_request(fields: dict[str, Any]) -> None:
    """Log the line of a request. `extra` would compare the name of each field with those of all attributes."""
    if logger.isEnabledFor(logging.INFO):
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, "request", (), None)
        vars(record).update(fields)
        logger.handle(record)


_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
