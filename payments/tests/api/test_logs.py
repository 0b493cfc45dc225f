"""The logs report events, and nothing about cards, keys and people, for any input."""

import json
import secrets
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from fintech.testing.processes import Platform, request, wait_until
from payments.tests.conftest import Client

pytestmark = pytest.mark.processes

PATH = "/v1/transactions"

# What must not be found again, in any of its spellings.
CARDS = ["4000056655665556", "4000 0566 5566 5556", "4000-0566-5566-5556", "5200828282828210", "3782 822463 10005"]
WORDS = ["Canary-Jane-Doe", "c_canary_42", "tok_canary_visa"]
PERSON = ["jane.canary@example.com", "Canary Street 7", *WORDS]
OTHER_SECRETS = ["fk_canary00_" + "c4n4ry" * 7, "canary password", "canary/metrics+token"]
EVERYTHING = [*CARDS, *PERSON, *OTHER_SECRETS]
SUSPICIOUS = ["canary", "c4n4ry", "0005665566", "0566 5566", "0566-5566", "8282828282", "822463 1", "%63anary"]


def lines(platform: Platform) -> list[dict[str, Any]]:
    """Every line of every process; each must be one JSON object."""
    programs = [program for program in (platform.web, platform.worker, platform.metrics) if program is not None]
    found = [json.loads(line) for program in programs for line in program.output().splitlines()]
    assert all(isinstance(line, dict) for line in found)
    return found


def request_line(platform: Platform, identifier: str) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        wanted = {"event": "request", "request_id": identifier}
        return next((line for line in lines(platform) if wanted.items() <= line.items()), None)

    found = wait_until(find, what="the request is logged")
    assert found is not None
    return found


def test_a_payment_is_one_line_with_its_outcome(client):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-ID": "logged-7", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    body = {"amount": 1901, "currency": "EUR"}
    payment = client.post(PATH, body, key="k", headers=headers).body

    line = request_line(client.platform, "logged-7")

    assert line.pop("duration_ms") > 0
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "logger": "fintech.request",
        "event": "request",
        "request_id": "logged-7",
        "trace_id": trace,
        "method": "POST",
        "route": "v1/transactions",
        "status_code": 201,
        "merchant": client.merchant.pk,
        "transaction": payment["id"],
        "status": "declined",
    }


def test_a_refusal_is_a_line_too(client):
    identifier = client.post(PATH, {"amount": 0, "currency": "EUR"}, key="k").headers["X-Request-ID"]

    line = request_line(client.platform, identifier)

    assert (line["status_code"], line["merchant"]) == (422, client.merchant.pk)
    assert "transaction" not in line
    assert "trace_id" not in line


def test_a_refund_and_a_batch_are_lines_too(client):
    payment = client.pay().body["id"]
    refund = client.refund(payment).headers["X-Request-ID"]
    items = [{"idempotency_key": str(number), "amount": 1, "currency": "EUR"} for number in range(3)]
    batch = client.post(f"{PATH}/batch", {"items": items}).headers["X-Request-ID"]

    line = request_line(client.platform, refund)
    assert (line["transaction"], line["status"]) == (payment, "succeeded")
    assert request_line(client.platform, batch)["items"] == 3


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-jane@example.com-00f067aa0ba902b7-01",
    ],
)
def test_a_malformed_traceparent_is_no_trace(platform, parent):
    identifier = secrets.token_hex(12)
    platform.request("GET", "/health", headers={"X-Request-ID": identifier, "traceparent": parent})

    assert "trace_id" not in request_line(platform, identifier)


def feed_bodies(client: Client) -> None:
    for word in EVERYTHING:
        client.pay(customer=word, description=f"for {word}", reference=word, metadata={"note": word})
        client.pay(metadata={word[:60]: "x"})
        client.pay(payment_method={"type": word[:32], "token": word})
        client.pay(payment_method={"type": "card", "country": word})
        client.pay(**{word: word})
        client.pay(currency=word)
        client.post(PATH, [word], key="k")
        client.post(PATH, f'{{"amount": {word}'.encode(), key="k")
        client.post(f"{PATH}/batch", {"items": [word, {"idempotency_key": word, "amount": word}], word: word})
        payment = client.pay(1922 if word in PERSON else 1250, customer=word).body
        client.post(f"{PATH}/{payment.get('id')}/refunds", {"amount": 1, "reason": word}, key=secrets.token_hex(12))


def feed_headers(client: Client) -> None:
    names = ["X-Request-ID", "Idempotency-Key", "traceparent", "User-Agent", "Referer", "Cookie", "Content-Type"]
    for word in EVERYTHING:
        for name in names:
            if name == "X-Request-ID" and word in WORDS:
                continue  # an id does not show it
            client.post(PATH, {"amount": 1250, "currency": "EUR"}, headers={"Idempotency-Key": "k", name: word})
        for scheme in ("Bearer ", "Basic ", "bearer  ", "", "Token "):
            client.platform.request("GET", PATH, headers={"Authorization": scheme + word})
            client.platform.request("GET", "/metrics", headers={"Authorization": scheme + word})
            client.platform.request("POST", "/alert", {"a": word}, headers={"Authorization": scheme + word})


def feed_paths(client: Client) -> None:
    for word in map(quote, EVERYTHING):
        for path in (
            f"/{word}",
            f"{PATH}/{word}",
            f"{PATH}/{word}/refunds",
            f"{PATH}?customer={word}",
            f"{PATH}?{word}={word}",
            f"{PATH}?cursor={word}&idempotency_key={word}",
            f"{PATH}?idempotency_key={word}",
            f"/admin/{word}",
            f"/admin/login/?next=/{word}",
            f"/static/{word}",
            f"/v1/docs?{word}",
            f"/v1/schema?lang={word}&format={word}",
        ):
            for method in ("GET", "POST", "TRACE"):
                client.platform.request(method, path, api_key=client.api_key, key="k")
    for charset in ("hex", "idna"):
        headers = {"Content-Type": f"application/json; charset={charset}"}
        client.platform.request("GET", f"{PATH}?status=%63anary", api_key=client.api_key, headers=headers)


def feed_what_is_not_http(client: Client) -> None:
    for word in EVERYTHING:
        for content in (
            f"GET {PATH}?customer={word}\r\n\r\n",
            f"GET {PATH}/{word} HTTP/9.9\r\n\r\n",
            f"{word.upper()} / HTTP/1.1\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\n{word} : b\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nX-A: {word}\0\r\n\r\n",
            f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {word}\r\n\r\n",
            f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {word}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nExpect: {word}\r\n\r\n",
            f"GET /admin/login/ HTTP/1.1\r\nHost: {word}\r\n\r\n",
            f"{word}\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", client.platform.port), timeout=10) as connection:
                connection.sendall(content.encode())
                with suppress(OSError):
                    connection.recv(1000)


def feed_the_login(platform: Platform) -> None:
    page = platform.request("GET", "/admin/login/")
    token = page.headers["Set-Cookie"].partition("csrftoken=")[2].partition(";")[0]
    for word in EVERYTHING:
        form = {"username": word, "password": word, "next": f"/admin/{word}"}
        for cookie in (token, "", word):
            content = urlencode({**form, "csrfmiddlewaretoken": cookie}).encode()
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Referer": f"http://localhost/{quote(word)}",
            }
            headers["Cookie"] = f"csrftoken={cookie}"
            platform.request("POST", f"/admin/login/?{quote(word)}", content, headers=headers)


def feed_the_metrics(platform: Platform) -> None:
    for word in map(quote, EVERYTHING):
        for port in (platform.metrics_port, platform.worker_port):
            request(port, "GET", f"/{word}?{word}")
            with suppress(OSError):  # it answers, and closes without reading the body
                request(port, "POST", f"/metrics?{word}", {"a": word})


@pytest.fixture(scope="module")
def fed(platform: Platform, make_shop) -> tuple[Platform, Client]:
    client = make_shop()
    feed_bodies(client)
    feed_headers(client)
    feed_paths(client)
    feed_what_is_not_http(client)
    feed_the_login(platform)
    feed_the_metrics(platform)
    return platform, client


def test_no_card_number_key_or_person_is_in_any_log(fed):
    platform, client = fed
    wanted = [*SUSPICIOUS, client.api_key, client.api_key.split("_", 2)[2], platform.env["GATEWAY_TOKEN"]]

    for program in (platform.web, platform.worker, platform.metrics):
        text = program.output()
        for word in (*EVERYTHING, *wanted):
            assert word.lower() not in text.lower(), f"{word} in {program.log}"


def test_every_line_of_every_process_is_one_json_object(fed):
    found = lines(fed[0])

    assert {"time", "level", "logger", "event"} <= set.intersection(*(set(line) for line in found))
    assert len(found) > 1000


def test_nothing_of_it_was_our_fault(fed):
    assert [line for line in lines(fed[0]) if line.get("status_code", 0) >= 500 or line["level"] == "ERROR"] == []
