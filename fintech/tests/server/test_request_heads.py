"""The quick reader of heads accepts only what gunicorn accepts, and reads the same."""

from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.http.wsgi import create
from hypothesis import example, given
from hypothesis import strategies as st

from fintech.server.request_heads import CONSTANT, SPECIAL, environ_of, read_usual

SCHEME_HEADERS = frozenset(Config().secure_scheme_headers)
USUAL = (
    b"POST /v1/transactions HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer fk_x\r\n"
    b"Idempotency-Key:  a b \r\nContent-Length: 4\r\n\r\n"
)


def read_by_gunicorn(data: bytes) -> Any:
    request = Request(Config(), IterUnreader(iter([data])), ("127.0.0.1", 4711))
    assert request.version == (1, 1)
    assert (request.uri, request.query, request.fragment) == (request.path, "", "")
    assert not request.should_close()
    return request.method, request.path, request.headers, request.body.reader.length


def read(data: bytes) -> Any:
    request = read_usual(data, SCHEME_HEADERS)
    return request and (request.method, request.path, request.headers, request.body_length)


@pytest.mark.parametrize("length", [b"0", b"4", b"0004", b"999999999", b"\r\nX-No-Length: 4"])
def test_a_usual_head_is_read_as_gunicorn_reads_it(length):
    head = USUAL.replace(b"Content-Length: 4", b"Content-Length: " + length).replace(b"Content-Length: \r\n", b"")
    request = read_usual(head + b"body", SCHEME_HEADERS)

    assert request is not None
    assert read(head + b"body") == read_by_gunicorn(head + b"body")
    assert request.head_length == len(head)


def test_its_environment_is_the_one_of_gunicorn(monkeypatch):
    monkeypatch.delenv("SCRIPT_NAME", raising=False)
    client, server = ("127.0.0.1", 4711), ("127.0.0.1", 5000)
    usual = USUAL.replace(b"Host", b"Content-Type: application/json\r\nX-A-B: c\r\nHost")
    request = Request(Config(), IterUnreader(iter([usual])), client)
    _, expected = create(request, None, client, server, Config())
    constant = {name: expected[name] for name in CONSTANT}
    read = read_usual(usual, SCHEME_HEADERS)
    assert read is not None

    _, first = create(read, None, client, server, Config())
    environ = environ_of(read, constant)

    assert first.keys() == expected.keys()
    # Set by the connection, or not offered.
    for name in ("wsgi.input", "wsgi.multithread", "wsgi.early_hints", "gunicorn.socket"):
        del expected[name], first[name]
    del first["wsgi.errors"], expected["wsgi.errors"], environ["wsgi.errors"]  # a new one for each environment
    assert environ == expected == first


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"POST", b"BREW"),
        (b"POST", b"post"),
        (b"/v1/transactions", b"*"),
        (b"/v1/transactions", b"//evil.example/"),
        (b"/v1/transactions", b"http://shop.example/v1/transactions"),
        (b"/v1/transactions", b"/v1/transactions?limit=1"),
        (b"/v1/transactions", b"/v1/%74ransactions"),
        (b"/v1/transactions", b"/v1/transactions#part"),
        (b"/v1/transactions", b"/" + b"a" * 7000 + b"?"),  # no pattern may try all ways to divide it
        (b"/v1/transactions", b"/" + b"a/" * 3500 + b"?"),
        (b"Host: shop", b"a" * 7000 + b"? shop"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
        (b"Host: ", b"Host : "),
        (b"Host: ", b" Host: "),
        (b"Host: ", b"Bad Host: "),
        (b"Host: ", b"X_Host: "),
        (b"Host: ", b": "),
        (b"Host: shop.example\r\n", b"Host: shop.example\r\nHOST: evil.example\r\n"),
        (b"Host: shop.example\r\n", b"Host: shop.example\r\n folded: yes\r\n"),
        (b"Host: shop.example\r\n", b"Host: shop.example\n"),
        (b"Host: shop.example\r\n", b"Host: shop\r.example\r\n"),
        (b"shop.example", b"shop\0example"),
        (b"shop.example", b"shop\texample"),
        (b"shop.example", "sh\u00f6p.example".encode("latin-1")),
        (b"Host: ", b"X-Forwarded-Proto: https\r\nHost: "),
        (b"Host: ", b"x-forwarded-proto: https\r\nHost: "),
        *((b"Host: ", f"{name.title()}: close\r\nHost: ".encode()) for name in sorted(SPECIAL)),
        *((b"Length: 4", b"Length: " + length) for length in (b"", b"+4", b"-4", b"4.0", b"4,4", b"0x4", b"4" * 10)),
        (b"\r\n\r\n", b"\r\n"),
        (b"shop.example", b"x" * 8000),
        (b"Host: ", b"".join(b"X-%d: 1\r\n" % number for number in range(60)) + b"Host: "),
    ],
)
def test_an_unusual_head_is_left_to_gunicorn(was, becomes):
    assert was in USUAL
    assert read(USUAL.replace(was, becomes, 1)) is None


tokens = st.text(st.sampled_from("abZ09-_!: \t\r\n\0\u00e9"), max_size=8)
lines = st.builds(
    "{}{}{}".format,
    st.sampled_from(["Host", "X-A", "x-a", "Content-Length", "Expect"]) | tokens,
    st.sampled_from([": ", ":", " : ", ""]),
    tokens,
)


@given(
    st.sampled_from(["GET", "POST", "PUT", "get"]),
    st.text(st.sampled_from("/a.~-_%?#: "), max_size=8),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]),
    st.lists(lines, max_size=4),
)
@example("GET", "/", "HTTP/1.1", ["Host: a", "X-A:"])
@example("GET", "", "HTTP/1.1", ["Content-Length: "])
def test_each_head_that_is_read_quickly_is_read_alike(method, path, version, headers):
    data = "\r\n".join([f"{method} /{path} {version}", *headers, "", ""]).encode("latin-1")

    quickly = read(data)
    assert quickly is None or quickly == read_by_gunicorn(data)
