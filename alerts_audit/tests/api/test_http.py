"""The trail's API behind the real gunicorn: what a test's client would not notice."""

import csv
import http.client
import io
import secrets
import socket
from collections.abc import Iterator

import pytest

from alerts_audit.models import AccessToken
from alerts_audit.permissions import issue_token
from alerts_audit.selectors.exports import CHUNK
from alerts_audit.tests.factories import make_episode, make_identity, make_user
from fintech.testing.processes import Platform, request
from payments.api_keys import create_api_key
from payments.models import Merchant

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform"), workers=1, worker=False) as platform:
        yield platform


@pytest.fixture(scope="module")
def token() -> str:
    return issue_token(user=make_user(group="auditor"), name="test")[1]


def get(platform: Platform, path: str, token: str, method: str = "GET"):
    return request(platform.port, method, path, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("path", ["episodes", "gaps", "statistics", "checkpoints"])
def test_a_token_is_enough_to_read(platform, token, path):
    assert get(platform, f"/v1/alerts/{path}", token).status == 200


def test_a_merchants_key_is_refused_here_and_a_persons_token_there(platform, token):
    merchant = Merchant.objects.create(name=secrets.token_hex(12), country="DE")
    key = create_api_key(merchant=merchant, name="shop", scopes=["payments:read"])[1]

    assert get(platform, "/v1/alerts/episodes", key).status == 401
    assert get(platform, "/v1/transactions", token).status == 401


def test_a_copy_comes_as_a_stream(platform, token):
    reply = get(platform, f"/v1/alerts/episodes/export?alertname={secrets.token_hex(12)}", token)

    assert reply.status == 200
    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert reply.headers["Content-Type"].startswith("text/csv")


def test_a_client_that_stops_in_a_copy_holds_neither_a_thread_nor_a_connection(tmp_path, token):
    """The parts of a copy are made by any thread, and each part gives its connection back."""
    identity, episodes = make_identity(secrets.token_hex(12)), CHUNK + 20
    for _ in range(episodes):
        make_episode(identity, summary="x" * 5_000)
    narrow = {"WEB_THREADS": "1", "DATABASE_POOL_SIZE": "1"}
    with Platform(tmp_path, workers=1, worker=False, env=narrow) as platform, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", platform.port))
        path = f"/v1/alerts/episodes/export?alertname={identity.alertname}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        response = http.client.HTTPResponse(connection)
        response.begin()

        # The key is read by the only connection, in another thread.
        assert platform.request("POST", "/v1/transactions", {}, api_key="fk_00000000_unknown").status == 401
        assert get(platform, "/v1/alerts/episodes", token).status == 200
        assert len(list(csv.DictReader(io.StringIO(response.read().decode("utf-8-sig"))))) == episodes


def test_no_cookie_is_set_for_a_program(platform, token):
    assert "Set-Cookie" not in get(platform, "/v1/alerts/episodes", token).headers


@pytest.mark.parametrize("path", ["/v1/alerts", "/v1/alerts/", "/v1/alerts/episodes/", "/v1/alerts/nothing"])
def test_no_path_redirects(platform, token, path):
    assert get(platform, path, token, "POST").status in (404, 405)


def test_neither_token_nor_filter_is_in_the_log(platform, token):
    value = secrets.token_hex(12)
    get(platform, f"/v1/alerts/episodes?alertname={value}", token)
    row = AccessToken.objects.get(prefix=token[:11])

    assert value not in platform.web.output()
    assert token not in platform.web.output()
    assert f'"user":{row.user_id}' in platform.web.output()
