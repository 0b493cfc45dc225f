"""The lean response writes the same bytes as gunicorn's own, and the snapshot has the same settings."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from gunicorn.http.wsgi import Response

from fintech.server.responses import LeanResponse, Snapshot

PLAIN = [("Content-Type", "application/json"), ("X-Note", "a note: of words"), ("Content-Length", "4")]
SPACED = [("Content-Type", "application/json"), ("X-Note", " spaces around\t"), ("Content-Length", " 4 ")]


class Sent:
    def __init__(self) -> None:
        self.data = b""

    def sendall(self, data: bytes) -> None:
        self.data += data


def send(response_class: type[Response], status: str, headers: list[tuple[Any, Any]], **request: Any) -> bytes:
    sent = Sent()
    wanted = {"method": "POST", "version": (1, 1), "should_close": lambda: False} | request
    response = response_class(SimpleNamespace(**wanted), sent, Config())
    response.start_response(status, headers)
    response.write(b"body")
    response.close()
    return re.sub(rb"Date: [^\r]+", b"Date: now", sent.data)


@pytest.mark.parametrize(
    ("status", "headers", "request_"),
    [
        ("201 Created", PLAIN, {}),
        ("200 OK", PLAIN[:2], {}),  # no length: sent in chunks
        ("200 OK", PLAIN[:2], {"version": (1, 0)}),
        ("200 OK", PLAIN, {"should_close": lambda: True}),
        ("200 OK", PLAIN, {"method": "HEAD"}),
        ("204 No Content", PLAIN, {}),
        ("304 Not Modified", PLAIN, {}),
        ("201 Created", SPACED, {}),
        ("204 No Content", SPACED, {}),
        ("200 OK", SPACED[:2], {"version": (1, 0)}),
        ("200 OK", [], {}),
        ("200 OK", [("X-Note", ""), *PLAIN], {}),
        ("200 OK", [("X-Note", "\u00e9"), *PLAIN], {}),
        ("200 OK", [("X-Note", "a\tb"), ("x-note", "again"), *PLAIN], {}),
        ("200 OK", [*PLAIN, ("content-length", "3")], {}),
        ("200 OK", [("Content-Length", "3"), *PLAIN[:2]], {}),
        ("200 OK", [*PLAIN, ("Connection", "close"), ("Keep-Alive", "5"), ("Transfer-Encoding", "chunked")], {}),
        ("101 Switching Protocols", [("Connection", "upgrade"), ("Upgrade", "websocket")], {}),
    ],
)
def test_the_lean_response_sends_the_same_as_gunicorns(status, headers, request_):
    assert send(LeanResponse, status, headers, **request_) == send(Response, status, headers, **request_)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\0b", "\u20ac"])
def test_a_value_that_would_begin_another_header_is_refused(value):
    with pytest.raises(InvalidResponseHeader):
        send(LeanResponse, "200 OK", [("X-Note", value)])


@pytest.mark.parametrize("name", ["X Note", "X-Note:", "", "X-Note\r\n"])
def test_an_invalid_name_is_refused_each_time(name):
    for _ in range(2):
        with pytest.raises(InvalidResponseHeaderName):
            send(LeanResponse, "200 OK", [(name, "value")])


@pytest.mark.parametrize("header", [(1, "value"), ("X-Note", 1), ("X-Note", None)])
def test_a_header_that_is_no_text_is_refused(header):
    with pytest.raises(TypeError):
        send(LeanResponse, "200 OK", [header])


def test_the_snapshot_has_every_setting_and_what_follows_from_them():
    configuration = Config()
    configuration.set("workers", 3)

    snapshot = Snapshot(configuration)

    assert all(getattr(snapshot, name) == getattr(configuration, name) for name in configuration.settings)
    assert snapshot.is_ssl == configuration.is_ssl
    with pytest.raises(AttributeError):
        snapshot.no_such_setting  # noqa: B018 - the access itself
