"""Whatever is sent: a precise refusal as problem+json, nothing stored, and never our fault."""

import gzip
import http.client
import json
import socket
from typing import Any

import pytest

from fintech.testing.processes import Reply
from payments.models import IdempotencyKey, Refund, Transaction
from payments.schemas import MAX_AMOUNT
from payments.tests.conftest import Client

pytestmark = pytest.mark.processes

PATH = "/v1/transactions"
GOOD: dict[str, Any] = {"amount": 1250, "currency": "EUR"}


@pytest.fixture(scope="module")
def shop(make_shop) -> Client:
    """One merchant that never gets a payment."""
    return make_shop()


@pytest.fixture(autouse=True)
def _nothing_stored(shop: Client):
    yield
    assert not Transaction.objects.filter(merchant=shop.merchant).exists()
    assert not Refund.objects.filter(transaction__merchant=shop.merchant).exists()
    assert not IdempotencyKey.objects.filter(merchant_id=shop.merchant.pk).exists()


def assert_problem(reply: Reply, status: int, code: str, param: str | None = None) -> None:
    body = reply.body if isinstance(reply.body, dict) else json.loads(reply.body)
    assert (reply.status, body["code"], body.get("param")) == (status, code, param), body
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert set(body) <= {"type", "title", "status", "code", "detail", "request_id", "param"}
    assert (body["status"], body["type"]) == (status, f"urn:problem:{code}")
    assert body["request_id"] == reply.headers["X-Request-ID"]
    assert len(json.dumps(body)) < 1000, "a problem does not repeat what was sent"


def body(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def raw_amount(text: str) -> bytes:
    return b'{"amount": ' + text.encode() + b', "currency": "EUR"}'


INVALID = "invalid_value"
BODIES = {
    # amount
    "amount is zero": (body(amount=0), 422, INVALID, "amount"),
    "amount is negative": (body(amount=-1), 422, INVALID, "amount"),
    "amount is too large by one": (body(amount=MAX_AMOUNT + 1), 422, INVALID, "amount"),
    "amount has 64 bits": (raw_amount(str(2**63)), 422, INVALID, "amount"),
    "amount has 4,299 digits": (raw_amount("9" * 4299), 422, INVALID, "amount"),
    "amount has 4,301 digits": (raw_amount("9" * 4301), 422, INVALID, "body"),
    "amount has a million digits": (raw_amount("9" * 1_000_000), 422, INVALID, "body"),
    "amount is 1.0": (raw_amount("1.0"), 422, INVALID, "amount"),
    "amount is 1e3": (raw_amount("1e3"), 422, INVALID, "amount"),
    "amount is 12.5": (raw_amount("12.5"), 422, INVALID, "amount"),
    "amount is 1e400": (raw_amount("1e400"), 422, INVALID, "amount"),
    "amount is -0": (raw_amount("-0"), 422, INVALID, "amount"),
    "amount is 0x10": (raw_amount("0x10"), 400, "invalid_json", None),
    "amount is 007": (raw_amount("007"), 400, "invalid_json", None),
    "amount is +1": (raw_amount("+1"), 400, "invalid_json", None),
    "amount is NaN": (raw_amount("NaN"), 400, "invalid_json", None),
    "amount is Infinity": (raw_amount("Infinity"), 400, "invalid_json", None),
    "amount is -Infinity": (raw_amount("-Infinity"), 400, "invalid_json", None),
    "amount is a text": (body(amount="1250"), 422, INVALID, "amount"),
    "amount is true": (body(amount=True), 422, INVALID, "amount"),
    "amount is null": (body(amount=None), 422, INVALID, "amount"),
    "amount is a list": (body(amount=[1250]), 422, INVALID, "amount"),
    "amount is an object": (body(amount={"value": 1250}), 422, INVALID, "amount"),
    "amount is a card number": (body(amount=4111111111111111), 422, "card_number", "amount"),
    "no amount": (b'{"currency": "EUR"}', 422, "missing_field", "amount"),
    # currency
    "no currency": (b'{"amount": 1250}', 422, "missing_field", "currency"),
    "currency is small": (body(currency="eur"), 422, INVALID, "currency"),
    "currency is empty": (body(currency=""), 422, INVALID, "currency"),
    "currency is a number": (body(currency=978), 422, INVALID, "currency"),
    "currency is null": (body(currency=None), 422, INVALID, "currency"),
    "currency does not exist": (body(currency="ABC"), 422, "unknown_currency", "currency"),
    "currency is gold": (body(currency="XAU"), 422, "unknown_currency", "currency"),
    "currency is for tests": (body(currency="XTS"), 422, "unknown_currency", "currency"),
    "currency is not Latin": (body(currency="ЁUR"), 422, INVALID, "currency"),
    "currency ends with a line break": (body(currency="EUR\n"), 422, INVALID, "currency"),
    # texts
    "customer is empty": (body(customer=""), 422, INVALID, "customer"),
    "customer is too long": (body(customer="c" * 256), 422, INVALID, "customer"),
    "customer is a number": (body(customer=42), 422, INVALID, "customer"),
    "customer is false": (body(customer=False), 422, INVALID, "customer"),
    "customer has NUL": (body(customer="c\0"), 422, "invalid_text", "customer"),
    "customer has half a surrogate pair": (body(customer="c\ud800"), 422, "invalid_text", "customer"),
    "customer has the other half": (body(customer="\udfff"), 422, "invalid_text", "customer"),
    "description is too long in emoji": (body(description="💶" * 1001), 422, INVALID, "description"),
    "description has NUL": (body(description="a\0b"), 422, "invalid_text", "description"),
    "description has 3 MB": (body(description="x" * 3_000_000), 422, INVALID, "description"),
    "reference is a list": (body(reference=["order-7"]), 422, INVALID, "reference"),
    # card numbers
    "customer is a card number": (body(customer="4111111111111111"), 422, "card_number", "customer"),
    "description has one with spaces": (
        body(description="2026 4111 1111 1111 1111"),
        422,
        "card_number",
        "description",
    ),
    "description has one with dashes": (
        body(description="card:4111-1111-1111-1111"),
        422,
        "card_number",
        "description",
    ),
    "reference has an American one": (body(reference="3782 822463 10005"), 422, "card_number", "reference"),
    "reference has one after a word": (body(reference="card378282246310005"), 422, "card_number", "reference"),
    "metadata has one": (body(metadata={"card": "4111111111111111"}), 422, "card_number", "metadata.card"),
    "metadata has one as a name": (body(metadata={"4111111111111111": "x"}), 422, "card_number", "metadata"),
    "token is one": (
        body(payment_method={"type": "card", "token": "4111111111111111"}),
        422,
        "card_number",
        "payment_method.token",
    ),
    "an unknown field is one": (body(**{"4111111111111111": 1}), 422, "card_number", "body"),
    # payment_method
    "payment_method is a text": (body(payment_method="card"), 422, INVALID, "payment_method"),
    "payment_method is a list": (body(payment_method=[]), 422, INVALID, "payment_method"),
    "payment_method has no type": (body(payment_method={}), 422, "missing_field", "payment_method.type"),
    "its type is null": (body(payment_method={"type": None}), 422, INVALID, "payment_method.type"),
    "its country is long": (
        body(payment_method={"type": "card", "country": "DEU"}),
        422,
        INVALID,
        "payment_method.country",
    ),
    "it holds a number": (
        body(payment_method={"type": "card", "number": "4"}),
        422,
        "unknown_field",
        "payment_method.number",
    ),
    # metadata
    "metadata is a list": (body(metadata=[]), 422, INVALID, "metadata"),
    "metadata is a text": (body(metadata="a"), 422, INVALID, "metadata"),
    "metadata has a number": (body(metadata={"a": 1}), 422, INVALID, "metadata[...]"),
    "metadata has null": (body(metadata={"a": None}), 422, INVALID, "metadata[...]"),
    "metadata is nested": (body(metadata={"a": {"b": "c"}}), 422, INVALID, "metadata[...]"),
    "metadata has an empty name": (body(metadata={"": "a"}), 422, INVALID, "metadata"),
    "metadata has a long name": (body(metadata={"a" * 65: "a"}), 422, INVALID, "metadata"),
    "metadata has a long text": (body(metadata={"a": "a" * 513}), 422, INVALID, "metadata[...]"),
    "metadata has 51": (body(metadata={str(n): "a" for n in range(51)}), 422, INVALID, "metadata"),
    "metadata has NUL in a name": (body(metadata={"a\0": "a"}), 422, "invalid_text", "metadata"),
    "metadata has NUL in a text": (body(metadata={"a": "\0"}), 422, "invalid_text", "metadata.a"),
    "metadata has half a pair in a name": (body(metadata={"\ud800": "a"}), 422, "invalid_text", "metadata"),
    # the object
    "an unknown field": (body(colour="red"), 422, "unknown_field", "colour"),
    "a field of the answer": (body(status="succeeded"), 422, "unknown_field", "status"),
    "an unknown field of 1 MB": (body(**{"x" * 1_000_000: 1}), 422, "unknown_field", "x" * 64 + "..."),
    "an unknown field with a back-tick": (body(**{"a`b": 1}), 422, "unknown_field", "a"),
    "an empty object": (b"{}", 422, "missing_field", "amount"),
    "a list": (b"[]", 422, INVALID, "body"),
    "a list of one": (b"[" + body() + b"]", 422, INVALID, "body"),
    "null": (b"null", 422, INVALID, "body"),
    "a number": (b"1250", 422, INVALID, "body"),
    "a text": (b'"amount"', 422, INVALID, "body"),
    # JSON
    "nothing": (b"", 400, "invalid_json", None),
    "spaces": (b"   \n", 400, "invalid_json", None),
    "half an object": (b'{"amount": 1250', 400, "invalid_json", None),
    "two objects": (body() + body(), 400, "invalid_json", None),
    "a comma too many": (b'{"amount": 1250, "currency": "EUR",}', 400, "invalid_json", None),
    "single quotes": (b"{'amount': 1250, 'currency': 'EUR'}", 400, "invalid_json", None),
    "a comment": (b'{"amount": 1250, /* c */ "currency": "EUR"}', 400, "invalid_json", None),
    "a form": (b"amount=1250&currency=EUR", 400, "invalid_json", None),
    "XML": (b"<amount>1250</amount>", 400, "invalid_json", None),
    "a byte order mark": (b"\xef\xbb\xbf" + body(), 400, "invalid_json", None),
    "UTF-16": (body().decode().encode("utf-16"), 400, "invalid_json", None),
    "Latin-1": (b'{"amount": 1250, "currency": "EUR", "customer": "J\xe9r\xf4me"}', 400, "invalid_json", None),
    "overlong UTF-8": (b'{"amount": 1250, "currency": "EUR", "customer": "\xc0\xaf"}', 400, "invalid_json", None),
    "a raw surrogate": (b'{"amount": 1250, "currency": "EUR", "customer": "\xed\xa0\x80"}', 400, "invalid_json", None),
    "a raw NUL": (b'{"amount": 1250, "currency": "EUR", "customer": "a\0"}', 400, "invalid_json", None),
    "a raw line break": (b'{"amount": 1250, "currency": "EUR", "customer": "a\n"}', 400, "invalid_json", None),
    "a name twice": (b'{"amount": 1250, "amount": 1, "currency": "EUR"}', 400, "invalid_json", None),
    "a name twice, spelled otherwise": (
        b'{"amount": 1250, "\\u0061mount": 1, "currency": "EUR"}',
        400,
        "invalid_json",
        None,
    ),
    "a name twice within": (
        b'{"amount": 1, "currency": "EUR", "metadata": {"a": "", "a": ""}}',
        400,
        "invalid_json",
        None,
    ),
    "a name twice among 200,000": (
        b'{"amount": 1, ' + b", ".join(b'"%d": 1' % n for n in range(200_000)) + b', "1": 1}',
        400,
        "invalid_json",
        None,
    ),
    "deep lists": (b"[" * 100_000, 400, "invalid_json", None),
    "lists 900 deep": (b"[" * 900 + b"]" * 900, 422, INVALID, "[0]" * 9),
    "objects 500 deep": (b'{"a":' * 500 + b"1" + b"}" * 500, 422, INVALID, ".".join("a" * 9)),
    "a long name over many values": (
        b'{"' + b"n" * 1_000_000 + b'": [' + b",".join([b"0"] * 500_000) + b"]}",
        422,
        "unknown_field",
        "n" * 64 + "...",
    ),
    "10 MB of text": (body(description="x" * 10_000_000), 413, "body_too_large", None),
    "10 MB of spaces": (b" " * 10_000_000 + body(), 413, "body_too_large", None),
    "10 MB of nothing": (b"\0" * 10_000_000, 413, "body_too_large", None),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_payment(shop, name):
    content, *expected = BODIES[name]

    assert_problem(shop.post(PATH, content, key="k"), *expected)


REFUNDS = {
    "amount is zero": (b'{"amount": 0}', 422, INVALID, "amount"),
    "amount is negative": (b'{"amount": -1}', 422, INVALID, "amount"),
    "amount is 1.0": (b'{"amount": 1.0}', 422, INVALID, "amount"),
    "amount is true": (b'{"amount": true}', 422, INVALID, "amount"),
    "amount is huge": (b'{"amount": ' + b"9" * 5000 + b"}", 422, INVALID, "body"),
    "reason is a number": (b'{"reason": 1}', 422, INVALID, "reason"),
    "reason is too long": (b'{"reason": "' + b"x" * 1001 + b'"}', 422, INVALID, "reason"),
    "reason has NUL": (b'{"reason": "\\u0000"}', 422, "invalid_text", "reason"),
    "reason has a card number": (b'{"reason": "4111111111111111"}', 422, "card_number", "reason"),
    "an unknown field": (b'{"currency": "EUR"}', 422, "unknown_field", "currency"),
    "a list": (b"[]", 422, INVALID, "body"),
    "null": (b"null", 422, INVALID, "body"),
    "spaces": (b"  ", 400, "invalid_json", None),
    "a name twice": (b'{"amount": 1, "amount": 2}', 400, "invalid_json", None),
    "10 MB": (b" " * 10_000_000, 413, "body_too_large", None),
}


@pytest.mark.parametrize("name", REFUNDS)
def test_a_body_that_is_no_refund(shop, name):
    content, *expected = REFUNDS[name]
    path = f"{PATH}/019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e12/refunds"

    assert_problem(shop.post(path, content, key="k"), *expected)


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Content-Type": "text/plain"}, body()),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"amount=1250&currency=EUR"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--"),
        ({"Content-Type": "application/jsonp"}, body()),
        ({"Content-Type": ""}, body()),
        ({"Content-Type": "application"}, body()),
        ({"Content-Type": "é" * 100}, body()),
    ],
)
def test_content_that_is_not_json(shop, headers, content):
    assert_problem(shop.post(PATH, content, key="k", headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity"])
def test_content_that_is_compressed(shop, encoding):
    reply = shop.post(PATH, gzip.compress(body()), key="k", headers={"Content-Encoding": encoding})

    assert_problem(reply, 415, "unsupported_content_encoding")


@pytest.mark.parametrize("path", [PATH, f"{PATH}/batch"])
@pytest.mark.parametrize(
    "parameter", ["charset=hex", "charset=utf-16", "charset=idna", "charset=\x80", "a*=nonsense''b", "a*=b; a*0=c"]
)
def test_a_parameter_of_the_content_type_changes_nothing(shop, path, parameter):
    headers = {"Content-Type": f"Application/JSON; {parameter}"}

    assert_problem(shop.post(path, b"{", key="k", headers=headers), 400, "invalid_json")


@pytest.mark.parametrize("parameter", ["a*=nonsense''b", "a*=b; a*0=c"])
@pytest.mark.parametrize("place", ["Content-Type", "Content-Disposition"])
def test_a_form_whose_headers_cannot_be_read(platform, place, parameter):
    of_form, of_part = (f"; {parameter}" if place == name else "" for name in ("Content-Type", "Content-Disposition"))
    headers = {"Content-Type": f"multipart/form-data; boundary=x{of_form}", "Cookie": f"csrftoken={'a' * 32}"}
    content = f'--x\r\nContent-Disposition: form-data; name="a"{of_part}\r\n\r\n\r\n--x--\r\n'.encode()

    reply = platform.request("POST", "/admin/login/", content, headers=headers)

    # Of an unknown charset, Django ignores the part; a form without a token is refused as well.
    assert reply.status in (400, 403), reply.body


def head(shop: Client, *lines: str, method: str = "POST", path: str = PATH) -> bytes:
    common = ["Host: localhost", f"Authorization: Bearer {shop.api_key}", "Idempotency-Key: k", "Connection: close"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *common, *lines, "", ""]).encode("latin-1")


def test_a_body_in_chunks(shop, exchange):
    content = head(shop, "Content-Type: application/json", "Transfer-Encoding: chunked")

    reply = exchange(content + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body()), body()))

    assert_problem(reply, 411, "length_required")


def test_a_body_that_ends_early(shop, platform):
    content = head(shop, "Content-Type: application/json", "Content-Length: 1000") + body()
    with socket.create_connection(("127.0.0.1", platform.port), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"incomplete_body"' in answer


def test_a_body_that_stalls_is_given_up(shop, exchange):
    content = head(shop, "Content-Type: application/json", "Content-Length: 1000") + body()

    assert_problem(exchange(content), 400, "incomplete_body")


MALFORMED = {
    "a long line": ("GET /?" + "a" * 9000 + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
    "a long header": ("GET / HTTP/1.1\r\nHost: a\r\nX-A: " + "a" * 9000 + "\r\n\r\n", 431, "headers_too_large"),
    "many headers": (
        "GET / HTTP/1.1\r\nHost: a\r\n" + "".join(f"X-{n}: a\r\n" for n in range(120)) + "\r\n",
        431,
        "headers_too_large",
    ),
    "no version": ("GET /\r\n\r\n", 400, "malformed_request"),
    "a wrong version": ("GET / HTTP/9.9\r\n\r\n", 400, "malformed_request"),
    "a small method": ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    "TLS": ("\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "malformed_request"),
    "NUL in a header": ("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: a\0b\r\n\r\n", 400, "malformed_request"),
    "a space in a header's name": ("GET / HTTP/1.1\r\nHost: a\r\nX A: a\r\n\r\n", 400, "malformed_request"),
    "a length that is no number": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "malformed_request"),
    "a negative length": ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "malformed_request"),
    "an absurd length": (
        f"POST /v1/docs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**15}\r\n\r\n",
        413,
        "body_too_large",
    ),
    "a length that is no floating-point number": (
        f"POST /v1/alerts/episodes/x/reviews HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**400}\r\n\r\n",
        413,
        "body_too_large",
    ),
    "two lengths": (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        400,
        "malformed_request",
    ),
    "a length and chunks": (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "malformed_request",
    ),
    "another coding": ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "malformed_request"),
    "another expectation": ("POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417, "expectation_failed"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http(exchange, name):
    content, status, code = MALFORMED[name]

    assert_problem(exchange(content.encode("latin-1")), status, code)


def test_a_path_prefix_from_a_header_is_not_believed(exchange):
    for header in ("SCRIPT_NAME: /x", "PATH_INFO: /metrics", "Script-Name: /x"):
        reply = exchange(f"GET /health HTTP/1.1\r\nHost: a\r\n{header}\r\nConnection: close\r\n\r\n".encode())

        assert reply.status == 200


@pytest.mark.parametrize("identifier", ["x", "%00", "%ff%fe", "..", "%2e%2e", "0" * 32 + "0", "0" * 5000, "{}", "-1"])
def test_an_id_that_is_none(shop, identifier):
    assert_problem(shop.get(f"{PATH}/{identifier}"), 404, "not_found")


SPELLINGS = {
    "braces": lambda identifier: f"%7B{identifier}%7D",
    "no dashes": lambda identifier: identifier.replace("-", ""),
    "a URN": lambda identifier: f"urn:uuid:{identifier}",
    "Arabic digits": lambda identifier: identifier.replace("0", "%D9%A0"),
    "underscores": lambda identifier: f"{identifier[:7]}_{identifier[8:]}",
    "another dash": lambda identifier: identifier.replace("-", "%E2%80%90"),
    "a space": lambda identifier: f"{identifier}%20",
    "a line break": lambda identifier: f"{identifier}%0A",
    "NUL": lambda identifier: f"{identifier}%00",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_id_in_another_spelling_is_none(client, spelling):
    payment = client.pay(capture=False).body["id"]
    endpoint = client.post("/v1/webhook-endpoints", {"url": "https://8.8.8.8/hook", "enabled": False}).body["id"]
    other_payment, other_endpoint = SPELLINGS[spelling](payment), SPELLINGS[spelling](endpoint)

    for path in (
        f"{PATH}/{other_payment}",
        f"{PATH}/{other_payment}/events",
        f"/v1/webhook-endpoints/{other_endpoint}",
    ):
        assert_problem(client.get(path), 404, "not_found")
    for path in (f"{PATH}/{other_payment}/void", f"/v1/webhook-endpoints/{other_endpoint}/secret"):
        assert_problem(client.post(path, {}, key="k"), 404, "not_found")
    assert_problem(client.get(f"/v1/disputes?transaction={other_payment}"), 422, "invalid_parameter", "transaction")
    assert client.get(f"{PATH}/{payment.upper()}").body["status"] == "authorized"


@pytest.mark.parametrize("path", ["/v1", "/v1/transactions/", "/v2/transactions", "/%00", "/%ff", "//", "/a" * 2000])
def test_a_path_that_does_not_exist(shop, path):
    assert_problem(shop.get(path), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (PATH, "GET, POST, HEAD, OPTIONS"),
        ("/transaction", "POST, OPTIONS"),
        (f"{PATH}/batch", "POST, OPTIONS"),
        (f"{PATH}/019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e12", "GET, HEAD, OPTIONS"),
        (f"{PATH}/019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e12/refunds", "GET, POST, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_is_not_allowed(shop, path, allowed, method):
    reply = shop.platform.request(method, path, body(), api_key=shop.api_key, key="k")

    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["Allow"] == allowed


def test_head_is_get_without_the_body(shop, platform):
    headers = {"Authorization": f"Bearer {shop.api_key}"}
    lengths = []
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=10)
    for method in ("HEAD", "GET"):  # over one connection: a body too many would be read as the next answer
        connection.request(method, PATH, headers=headers)
        response = connection.getresponse()
        lengths.append((len(response.read()), response.headers["Content-Length"]))
    connection.close()

    assert lengths == [(0, "23"), (23, "23")]


@pytest.mark.parametrize("host", ["pay.example", "evil.example:5000", "a_b", "localhost.evil.example"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PATH),
        ("POST", "/transaction"),
        ("POST", f"{PATH}/batch"),
        ("GET", PATH),
        ("GET", "/v1/schema"),
        ("GET", "/v1/docs"),
        ("GET", "/admin/login/"),
        ("GET", "/v1/alerts/episodes"),
        ("GET", "/nothing"),
    ],
)
def test_another_host_is_refused_at_once_and_the_answer_names_the_cause(shop, method, path, host):
    """Payments were made, and only a list with a second page was refused, without a reason."""
    headers = {"Host": host, "Authorization": f"Bearer {shop.api_key}", "Idempotency-Key": "order-9"}
    reply = shop.platform.request(method, path, body() if method == "POST" else None, headers=headers)

    assert_problem(reply, 400, "bad_request")
    assert "ALLOWED_HOSTS" in reply.body["detail"]
    assert '"reason":"disallowed_host"' in shop.platform.web.output()


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_probes_may_use_any_host(shop, path):
    reply = shop.platform.request("GET", path, headers={"Host": "10.0.0.7:5000"})

    assert reply.status == (401 if path == "/metrics" else 200), "metrics need a token, not a host"


def test_a_host_that_is_not_ours(client):
    """Addresses of next pages are made from it."""
    for _ in range(2):
        client.pay()

    headers = {"Host": "evil.example", "Authorization": f"Bearer {client.api_key}"}
    assert_problem(client.platform.request("GET", f"{PATH}?limit=1", headers=headers), 400, "bad_request")


REPEATED = {
    "Authorization": "Bearer other",
    "Content-Type": "text/plain",
    "Host": "127.0.0.1",
    "Idempotency-Key": "order-10",
    "X-Request-ID": "r-2",
    "traceparent": "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("equal", [True, False], ids=["equal", "different"])
def test_a_header_that_may_occur_once_occurs_twice(shop, exchange, name, equal):
    """Joined by the server, two keys `order-9` were the new key `order-9,order-9`, and the retry was charged."""
    sent = {
        "Host": "localhost",
        "Authorization": f"Bearer {shop.api_key}",
        "Content-Type": "application/json",
        "Idempotency-Key": "order-9",
        "X-Request-ID": "r-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    lines = [f"{header}: {value}" for header, value in sent.items()]
    lines.append(f"{name.lower()}: {sent[name] if equal else REPEATED[name]}")
    content = "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, f"Content-Length: {len(body())}", "", ""]).encode()

    refusals = {
        "Content-Type": ("malformed_request", None),
        "Host": ("malformed_request", None),
    }  # by gunicorn's parser
    assert_problem(exchange(content + body()), 400, *refusals.get(name, ("repeated_header", name)))


@pytest.mark.parametrize("key", ["order-9,order-9", "order-9,order-9,order-9"])
def test_equal_keys_that_a_proxy_joined(shop, key):
    assert_problem(shop.post(PATH, body(), key=key), 400, "repeated_header", "Idempotency-Key")


def test_options_lists_the_methods(shop):
    reply = shop.platform.request("OPTIONS", PATH, api_key=shop.api_key)

    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_unusual_texts_are_texts(client):
    fields = {
        "customer": "\u202e\u200b\ufeff\uffff\U0010ffff",
        "description": "💶" * 1000,
        "reference": "'; DROP TABLE payments_transaction; --",
        "metadata": {"💶": "\x01\x7f", "{{7*7}}": "%s %(a)s \\ \" '", "null": ""},
    }
    reply = client.pay(**fields)

    assert reply.status == 201, reply.body
    shown = client.get(f"{PATH}/{reply.body['id']}").body
    assert {name: shown[name] for name in fields} == fields
    assert client.pay(**fields, key="k").status == 201
    assert client.pay(**fields, key="k").status == 200


def test_javascript_reads_every_amount_exactly():
    assert MAX_AMOUNT <= 2**53 - 1


@pytest.mark.parametrize("amount", [1, MAX_AMOUNT])
def test_the_smallest_and_the_largest_amount(client, amount):
    reply = client.pay(amount)

    assert (reply.status, reply.body["amount"]) == (201, amount)
