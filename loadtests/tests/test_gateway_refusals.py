"""Refusals of the gateway, without any movement of money."""

import http.client
from uuid import uuid4

import pytest

pytestmark = pytest.mark.processes

ORDER = {"amount": 1250, "currency": "EUR"}

GUARDED = [
    ("POST", "/v1/charges"),
    ("GET", "/v1/charges/k"),
    ("POST", "/v1/charges/k/cancel"),
    ("POST", "/v1/refunds"),
    ("GET", "/v1/refunds/k"),
    ("POST", "/v1/refunds/k/cancel"),
    ("GET", "/v1/totals"),
    ("GET", "/v1/records"),
    ("GET", "/control/profile"),
    ("PUT", "/control/profile"),
    ("PATCH", "/control/profile"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("token", ["", "wrong", "tökén", "wrong" * 500])
def test_a_stranger_is_refused(gateway, method, path, token):
    answer = gateway.request(method, path, ORDER, token=token, key="k")

    assert (answer.status, answer.body) == (401, {"outcome": "error", "code": "unauthorized"})


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_each_token_opens_only_its_own_door(gateway, method, path):
    other = gateway.token if path.startswith("/control") else gateway.control_token

    assert gateway.request(method, path, ORDER, token=other, key="k").status == 401


def test_a_request_without_any_token_is_refused(gateway):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    connection.request("GET", "/v1/totals")

    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize("repeated", ["order-9", "order-10"])
def test_two_keys_are_refused(gateway, repeated):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    connection.putrequest("POST", "/v1/charges")
    for name, value in [
        ("Authorization", f"Bearer {gateway.token}"),
        ("Idempotency-Key", "order-9"),
        ("Idempotency-Key", repeated),
        ("Content-Length", "36"),
    ]:
        connection.putheader(name, value)
    connection.endheaders(b'{"amount": 1250,   "currency":"EUR"}')
    answer = gateway.receive(connection)

    assert (answer.status, answer.body["code"], answer.body["charged"]) == (400, "repeated_header", False)
    assert gateway.request("GET", "/v1/charges/order-9").status == 404


def test_health_needs_no_token(gateway):
    assert gateway.request("GET", "/health", token="").body == {"status": "ok"}


@pytest.mark.parametrize("key", [None, "", "two words", "k" * 256, "caf\u00e9", "tab\tin", "k,k"])
@pytest.mark.parametrize("path", ["/v1/charges", "/v1/refunds"])
def test_a_missing_or_malformed_key_is_refused(gateway, path, key):
    answer = gateway.request("POST", path, ORDER | {"charge": "c"}, key=key)

    assert (answer.status, answer.body["code"], answer.body["charged"]) == (400, "invalid_key", False)


@pytest.mark.parametrize("key", ["%20", "%00", "caf%C3%A9", "k" * 256])
@pytest.mark.parametrize("kind", ["charges", "refunds"])
def test_a_malformed_key_in_the_path_is_refused(gateway, kind, key):
    assert gateway.request("GET", f"/v1/{kind}/{key}").status == 400
    assert gateway.request("POST", f"/v1/{kind}/{key}/cancel").status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"amount": NaN}', b'{"amount": 1,}'])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/charges"), ("POST", "/v1/refunds")])
def test_a_body_that_is_not_json_is_400(gateway, method, path, body):
    answer = gateway.request(method, path, body, key=str(uuid4()))

    assert (answer.status, answer.body["code"], answer.body["charged"]) == (400, "invalid_json", False)


@pytest.mark.parametrize(
    "change",
    [
        {"amount": None},
        {"amount": 0},
        {"amount": -1},
        {"amount": 12.5},
        {"amount": 1250.0},
        {"amount": "1250"},
        {"amount": True},
        {"amount": 10**15 + 1},
        {"amount": 2**63},
        {"amount": 10**30},
        {"amount": [1250]},
        {"currency": None},
        {"currency": "eur"},
        {"currency": "EURO"},
        {"currency": "EU\n"},
        {"currency": "\u20ac\u20ac\u20ac"},
        {"currency": 978},
    ],
)
def test_an_order_with_a_wrong_field_is_422_and_names_it(gateway, change):
    key = str(uuid4())

    for path in ("/v1/charges", "/v1/refunds"):
        answer = gateway.request("POST", path, ORDER | {"charge": "c"} | change, key=key)

        assert (answer.status, answer.body["charged"]) == (422, False)
        assert next(iter(change)) in answer.body["message"]
    assert gateway.charge(key) == {"outcome": "not_found"}


@pytest.mark.parametrize("charge", [None, "", 5, "two words", "k" * 256, {"key": "k"}])
def test_a_refund_must_name_its_charge(gateway, charge):
    answer = gateway.request("POST", "/v1/refunds", ORDER | {"charge": charge}, key=str(uuid4()))

    assert answer.status == 422
    assert "charge" in answer.body["message"]


@pytest.mark.parametrize("body", [[], "text", 5, None])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/charges"), ("POST", "/v1/refunds")])
def test_json_that_is_not_an_object_is_422(gateway, method, path, body):
    content = b"null" if body is None else body

    assert gateway.request(method, path, content, key=str(uuid4())).status == 422


def test_a_large_body_is_413(gateway):
    answer = gateway.request("POST", "/v1/charges", b'"' + b"x" * 70_000 + b'"', key=str(uuid4()))

    assert (answer.status, answer.body["charged"]) == (413, False)


@pytest.mark.parametrize(("amount", "currency"), [(1251, "EUR"), (1250, "USD")])
def test_a_key_used_again_for_another_order_is_422_and_changes_nothing(gateway, amount, currency):
    key = str(uuid4())
    first = gateway.post_charge(key, 1250)

    answer = gateway.post_charge(key, amount, currency)

    assert (answer.status, answer.body["code"], answer.body["charged"]) == (422, "key_reused", False)
    assert gateway.charge(key) == first.body


def test_a_refund_key_used_again_for_another_charge_is_422(gateway):
    one, other, refund = (str(uuid4()) for _ in range(3))
    gateway.post_charge(one, 1000)
    gateway.post_charge(other, 1000)
    gateway.post_refund(refund, one, 100)

    assert gateway.post_refund(refund, other, 100).body["code"] == "key_reused"


def test_a_charge_and_a_refund_may_share_a_key(gateway):
    key = str(uuid4())
    gateway.post_charge(key, 1000)

    assert gateway.post_refund(key, key, 1000).body["outcome"] == "approved"


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=1e3", f"after={2**63}", "limit=0", "limit=1001"])
def test_a_wrong_page_of_records_is_422_and_names_the_parameter(gateway, query):
    answer = gateway.request("GET", f"/v1/records?{query}")

    assert answer.status == 422
    assert query.partition("=")[0] in answer.body["message"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error_ratio": 2}, 422),
        ({"no_such": 1}, 422),
        ([], 422),
        (b"{", 400),
        ({"hold_seconds": 10**30}, 422),
        ({"seed": 10**30}, 422),
    ],
)
def test_a_wrong_profile_is_refused_and_nothing_changes(gateway, method, body, status):
    before = gateway.profile(latency_ms=1)

    answer = gateway.request(method, "/control/profile", body, token=gateway.control_token)

    assert answer.status == status
    assert answer.body["message"]
    assert gateway.profile() == before


def test_a_patch_may_not_push_the_sum_of_the_ratios_above_one(gateway):
    gateway.profile(error_ratio=0.6)

    answer = gateway.request("PATCH", "/control/profile", {"drop_ratio": 0.5}, token=gateway.control_token)

    assert (answer.status, gateway.profile()["drop_ratio"]) == (422, 0)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("DELETE", "/v1/charges/k", 405), ("GET", "/v1/charges", 405)],
)
def test_an_unknown_path_is_not_found(gateway, method, path, status):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    connection.request(method, path)

    assert connection.getresponse().status == status
    connection.close()
