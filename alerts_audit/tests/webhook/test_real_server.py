"""The webhook behind the real gunicorn: what only a socket can do to it."""

import gzip
import hashlib
import json
import secrets
import select
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
from django.conf import settings

from alerts_audit.models import Delivery, Episode
from alerts_audit.sources.tokens import add_source, revoke_token
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.request_body import LIMIT
from fintech.server.connections import BODY_SECONDS, STALL_SECONDS
from fintech.testing.processes import IN_FULL, Platform, is_over, wait_until

pytestmark = pytest.mark.processes

AUTHORIZATION = {"Authorization": f"Bearer {settings.ALERT_TOKEN}"}
HEAD = f"POST /alert HTTP/1.1\r\nHost: alerts\r\nAuthorization: Bearer {settings.ALERT_TOKEN}\r\n".encode()


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform"), workers=1, worker=False) as platform:
        yield platform


def connect(platform: Platform) -> socket.socket:
    return socket.create_connection(("127.0.0.1", platform.port), timeout=20)


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer to what was sent over this connection."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def test_a_stalled_sender_is_asked_to_send_again(platform):
    start = time.monotonic()
    with connect(platform) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 500)
        status, problem = answer(connection)

    assert (status, problem["code"]) == (503, "alert_incomplete")
    assert not is_over(start, STALL_SECONDS + 5)


@pytest.mark.slow
@pytest.mark.skipif(not IN_FULL, reason="it takes as long as the deadline")
def test_a_slow_sender_is_asked_to_send_again_at_the_deadline(platform):
    start = time.monotonic()
    with connect(platform) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        while not select.select([connection], [], [], 0.5)[0]:
            connection.sendall(b"x")
        status, problem = answer(connection)

    assert (status, problem["code"]) == (503, "alert_incomplete")
    assert time.monotonic() - start >= BODY_SECONDS
    assert not is_over(start, BODY_SECONDS + 5)


def test_a_sender_that_leaves_early_stores_nothing_and_breaks_nothing(platform):
    before = Delivery.objects.count()
    with connect(platform) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + b"half")

    reply = platform.request("POST", "/alert", b"{}", headers=AUTHORIZATION)
    assert reply.status == 200
    assert Delivery.objects.count() == before + 1


@pytest.mark.parametrize("chunk", [b"", b"zz\r\n", b"5\r\nab", b"2\r\n{}\r\n", b"2\r\n{}\r\n0\r\n"])
def test_broken_chunks_are_not_taken_for_a_body(platform, chunk):
    with connect(platform) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
        connection.shutdown(socket.SHUT_WR)
        status, problem = answer(connection)

    assert (status, problem["code"]) == (503, "alert_incomplete")


@pytest.mark.parametrize("in_chunks", [False, True])
def test_the_beginning_of_a_body_above_the_limit_is_stored(platform, in_chunks):
    body = alertmanager_body("x" * LIMIT)
    framed = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n" if in_chunks else body
    size = "Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(body)}"
    with connect(platform) as connection:
        connection.sendall(HEAD + f"{size}\r\n\r\n".encode() + framed)
        status, stored = answer(connection)

    assert (status, stored["complete"]) == (200, False)
    assert stored["sha256"] == hashlib.sha256(body).hexdigest()
    assert bytes(Delivery.objects.get(pk=stored["id"]).body) == body[:LIMIT]


def test_a_body_above_the_limit_that_breaks_off_is_to_be_sent_again(platform):
    with connect(platform) as connection:
        connection.sendall(HEAD + f"Content-Length: {LIMIT + 9}\r\n\r\n".encode() + bytes(LIMIT + 1))
        connection.shutdown(socket.SHUT_WR)
        status, problem = answer(connection)

    assert (status, problem["code"]) == (503, "alert_incomplete")


def test_a_stranger_is_answered_before_the_body_is_read(platform):
    with connect(platform) as connection:
        connection.sendall(b"POST /alert HTTP/1.1\r\nHost: alerts\r\nContent-Length: 1000\r\n\r\n")
        status, problem = answer(connection)

    assert (status, problem["code"]) == (401, "alert_unauthorized")


def test_a_new_token_works_soon_and_a_revoked_one_soon_no_more(platform):
    """How soon, test_sources.py says, where nothing else takes time."""
    source, token, secret = add_source(name=f"am-{secrets.token_hex(4)}")

    def status() -> int:
        bearer = {"Authorization": f"Bearer {secret}"}
        return platform.request("POST", "/alert", b"{}", headers=bearer).status

    wait_until(lambda: status() == 200, what="the token works")
    assert Delivery.objects.filter(source=source.name).exists()
    revoke_token(token)
    wait_until(lambda: status() == 401, what="the token is refused")


def test_a_body_in_chunks_is_stored(platform):
    with connect(platform) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n\n\r\n0\r\n\r\n")
        status, stored = answer(connection)

    assert status == 200
    assert bytes(Delivery.objects.get(pk=stored["id"]).body) == b"{}\n"


def test_ten_thousand_alerts_are_more_than_djangos_own_limit_and_are_answered_in_time(platform):
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": "TenThousand", "instance": f"host-{number}:9100", "run": secrets.token_hex(12)},
            "annotations": {"summary": "x" * 480},
            "startsAt": "2026-11-22T13:40:00Z",
        }
        for number in range(10_000)
    ]
    body = alertmanager_body(alerts=alerts)
    assert len(body) > 6_000_000 > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    start = time.monotonic()
    reply = platform.request("POST", "/alert", body, headers=AUTHORIZATION)

    assert not is_over(start, 3)
    assert Delivery.objects.get(pk=reply.body["id"]).size == len(body)


def test_a_delivery_is_projected_at_once_without_a_worker(platform):
    name = f"Prompt{secrets.token_hex(4)}"
    reply = platform.request("POST", "/alert", alertmanager_body(name), headers=AUTHORIZATION)

    episode = wait_until(Episode.objects.filter(alertname=name).first, what="it is an episode")
    assert episode.state == Episode.State.FIRING
    assert episode.transitions.get().delivery_id == reply.body["id"]


def test_no_body_at_all_is_stored_as_an_empty_one(platform):
    with connect(platform) as connection:
        connection.sendall(HEAD + b"\r\n")
        status, stored = answer(connection)

    assert status == 200
    assert Delivery.objects.get(pk=stored["id"]).size == 0


def test_a_compressed_body_is_stored_as_it_came(platform):
    body = gzip.compress(alertmanager_body("X"))
    reply = platform.request("POST", "/alert", body, headers={**AUTHORIZATION, "Content-Encoding": "gzip"})

    assert bytes(Delivery.objects.get(pk=reply.body["id"]).body) == body


def test_a_body_of_16_mib_is_stored(platform):
    body = b"x" * LIMIT
    reply = platform.request("POST", "/alert", body, headers=AUTHORIZATION)

    assert reply.status == 200
    assert Delivery.objects.get(pk=reply.body["id"]).size == LIMIT


STORED_ALL_THE_SAME = [
    "Content-Type: \xff\xfe",
    "Content-Type: application/json; charset=nonsense",
    "Content-Type: application/json; a*=nonsense''b",
    "Content-Type: application/json; a*=b; a*0=c",
    "Content-Type: multipart/form-data",
    "Content-Type: application/x-www-form-urlencoded; boundary=",
    "Content-Encoding: " + "gzip, " * 1000,
    "Cookie: sessionid=\xff; csrftoken=;;;=",
    "X-Request-ID: {}%00'\"<script>",
    "X-Forwarded-Proto: https",
    "X-HTTP-Method-Override: DELETE",
    "traceparent: 00-zz-zz-zz",
    "Expect: 100-continue",
    "Accept: text/html;q=x",
    "Range: bytes=0-",
    "If-None-Match: *",
]
NO_HTTP = [
    "Content-Length: -1",
    "Content-Length: abc",
    "Content-Length: 2, 3",
    "Content-Length: 99999999999999999999999",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: chunked, chunked",
    "Expect: nonsense",
    "No colon",
    "Sp ace: x",
    "Null: \0",
    "Long: " + "x" * 9000,
    "\r\n".join(f"Many-{number}: x" for number in range(200)),
]


def post_with(platform: Platform, header: str, body: bytes = b"{}") -> tuple[int, dict[str, Any]]:
    own = {} if "Length" in header or "Transfer" in header else {"Content-Length": len(body)}
    lines = [*(f"{name}: {value}" for name, value in own.items()), header, "", ""]
    with connect(platform) as connection:
        connection.sendall(HEAD + "\r\n".join(lines).encode("latin-1") + body)
        connection.shutdown(socket.SHUT_WR)
        return answer(connection)


@pytest.mark.parametrize("header", STORED_ALL_THE_SAME)
def test_an_absurd_header_does_not_matter(platform, header):
    status, stored = post_with(platform, header)

    assert (status, set(stored)) == (200, {"id", "sha256"})


@pytest.mark.parametrize("header", NO_HTTP)
def test_malformed_http_is_refused_and_never_an_internal_error(platform, header):
    status, problem = post_with(platform, header)

    assert 400 <= status <= 431 or status in (501, 503), problem
    assert status != 429
    assert platform.request("POST", "/alert", b"{}", headers=AUTHORIZATION).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND"])
def test_any_other_method_is_405_at_once(platform, method):
    reply = platform.request(method, "/alert", headers=AUTHORIZATION)

    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("host", ["app:5000", "../../etc", "a_b", "é", ""])
def test_the_host_that_alertmanager_calls_us_by_does_not_matter(platform, host):
    reply = platform.request("POST", "/alert", b"{}", headers={**AUTHORIZATION, "Host": host})

    assert reply.status == 200


def test_without_a_database_the_sender_is_asked_to_send_again(tmp_path):
    nowhere = f"postgresql://app@/fintech?host={tmp_path}"
    with Platform(tmp_path, workers=1, worker=False, env={"DATABASE_URL": nowhere}) as platform:
        start = time.monotonic()
        reply = platform.request("POST", "/alert", b"{}", headers=AUTHORIZATION)
        assert not is_over(start, 2)

    assert (reply.status, reply.body["code"]) == (503, "alert_unavailable")
