"""Authentication and scopes: every refusal gives its reason, and costs the client nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from fintech.testing.processes import Platform, Reply, wait_until
from payments.api_keys import create_api_key, revoke_api_key
from payments.models import IdempotencyKey, Merchant, Refund, Transaction
from payments.tests.conftest import ALL_SCOPES, Client

pytestmark = pytest.mark.processes

LIST = "/v1/transactions"


def assert_refused(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.body["code"]) == (status, code), reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.body["request_id"] == reply.headers["X-Request-ID"]


def client_with(platform: Platform, merchant: Merchant, *scopes: str, **options) -> Client:
    _, secret = create_api_key(merchant=merchant, name="test", scopes=scopes or ALL_SCOPES, **options)
    return Client(platform, merchant, secret)


def test_it_refuses_a_request_without_a_key(platform):
    reply = platform.request("GET", LIST)

    assert_refused(reply, 401, "missing_api_key")
    assert reply.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer fk_aaaaaaaa_nobody",
        "Bearer fk_",
        "Bearer x",
        "Basic YWRtaW46YWRtaW4=",
        "fk_aaaaaaaa_without_scheme",
        "Bearer " + "x" * 5000,
        "Bearer fk_é\x80éééééé_x",
        "Bearer fk_%00aaaaaa_x",
    ],
)
def test_it_refuses_what_is_no_key(platform, header):
    reply = platform.request("GET", LIST, headers={"Authorization": header})

    assert_refused(reply, 401, "invalid_api_key")


def test_it_refuses_a_wrong_secret_behind_a_known_prefix(platform, client):
    wrong = client.api_key[:-1] + ("a" if client.api_key[-1] != "a" else "b")

    assert_refused(platform.request("GET", LIST, api_key=wrong), 401, "invalid_api_key")
    assert_refused(platform.request("GET", LIST, api_key=client.api_key + "x"), 401, "invalid_api_key")


def test_the_scheme_may_be_written_in_any_case(platform, client):
    assert platform.request("GET", LIST, headers={"Authorization": f"bEARER {client.api_key}"}).status == 200


def test_a_revoked_key_is_refused_by_all_workers_within_five_seconds(platform, merchant):
    key, secret = create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)

    def ask(_: object) -> Reply:
        return platform.request("GET", LIST, api_key=secret)

    with ThreadPoolExecutor(16) as threads:
        # Many at once, so that each worker has the key in its memory.
        assert {reply.status for reply in threads.map(ask, range(48))} == {200}
        revoke_api_key(key)
        time.sleep(5)  # the promise: later requests are refused
        replies = list(threads.map(ask, range(48)))
    for reply in replies:
        assert_refused(reply, 401, "revoked_api_key")


def test_an_expired_key_is_refused(platform, merchant):
    client = client_with(platform, merchant, expires_at=timezone.now() - timedelta(seconds=1))

    assert_refused(client.get(LIST), 401, "expired_api_key")


def test_a_key_that_expires_is_refused_at_once_although_it_is_remembered(platform, merchant):
    expires_at = timezone.now() + timedelta(seconds=1)
    client = client_with(platform, merchant, expires_at=expires_at)

    assert client.get(LIST).status == 200

    wait_until(lambda: timezone.now() > expires_at)
    assert_refused(client.get(LIST), 401, "expired_api_key")


def test_a_new_key_works_at_once(platform, merchant):
    assert client_with(platform, merchant).get(LIST).status == 200


@pytest.mark.parametrize(
    ("scopes", "request_line", "missing"),
    [
        (["payments:write", "refunds:write"], f"GET {LIST}", "payments:read"),
        (["payments:write", "refunds:write"], f"GET {LIST}/{UUID(int=0)}", "payments:read"),
        (["payments:write", "refunds:write"], f"GET {LIST}/{UUID(int=0)}/refunds", "payments:read"),
        (["payments:read", "refunds:write"], f"POST {LIST}", "payments:write"),
        (["payments:read", "refunds:write"], "POST /transaction", "payments:write"),
        (["payments:read", "refunds:write"], f"POST {LIST}/batch", "payments:write"),
        (["payments:read", "payments:write"], f"POST {LIST}/{UUID(int=0)}/refunds", "refunds:write"),
    ],
)
def test_it_refuses_what_the_key_has_no_scope_for(platform, merchant, scopes, request_line, missing):
    method, path = request_line.split()
    client = client_with(platform, merchant, *scopes)

    reply = platform.request(method, path, {"amount": 1, "currency": "EUR"}, api_key=client.api_key, key="k")

    assert_refused(reply, 403, "wrong_scope")
    assert missing in reply.body["detail"]


def test_an_inactive_merchant_is_refused_within_five_seconds(client):
    assert client.get(LIST).status == 200

    Merchant.objects.filter(pk=client.merchant.pk).update(is_active=False)

    refusal = wait_until(lambda: next((reply for reply in [client.pay()] if reply.status != 201), None), timeout=5)
    assert_refused(refusal, 403, "inactive_merchant")


def test_another_merchants_transaction_does_not_exist(client, other_client):
    payment = client.pay().body["id"]
    client.pay()

    assert_refused(other_client.get(f"{LIST}/{payment}"), 404, "not_found")
    assert_refused(other_client.get(f"{LIST}/{payment}/refunds"), 404, "not_found")
    assert_refused(other_client.refund(payment), 404, "not_found")
    assert other_client.get(LIST).body == {"data": [], "next": None}
    assert other_client.get(client.get(f"{LIST}?limit=1").body["next"]).body["data"] == []
    assert not Refund.objects.filter(transaction_id=payment).exists()


def test_a_refused_request_stores_nothing_and_keeps_its_key_usable(platform, merchant):
    reader = client_with(platform, merchant, "payments:read")
    writer = client_with(platform, merchant)

    assert reader.pay(key="order-1").status == 403
    assert writer.pay(amount=0, key="order-1").status == 422

    assert not Transaction.objects.filter(merchant=merchant).exists()
    assert not IdempotencyKey.objects.filter(merchant_id=merchant.pk).exists()
    assert writer.pay(key="order-1").status == 201


@pytest.mark.parametrize("identifier", ["a", "checkout-7.eu-1", "A" * 64, "019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e12"])
def test_a_request_id_is_returned_as_it_was_sent(platform, identifier):
    reply = platform.request("GET", LIST, headers={"X-Request-ID": identifier})

    assert reply.headers["X-Request-ID"] == reply.body["request_id"] == identifier


@pytest.mark.parametrize(
    "identifier",
    ["", "A" * 65, "two words", "jane@example.com", "a/b", "é", "4111111111111111", "4111-1111-1111-1111", '"'],
)
def test_a_request_id_that_is_none_is_replaced(platform, identifier):
    reply = platform.request("GET", LIST, headers={"X-Request-ID": identifier})

    assert UUID(reply.headers["X-Request-ID"]).version == 7
    assert reply.body["request_id"] == reply.headers["X-Request-ID"]


def test_a_key_is_no_request_id(platform, client):
    reply = platform.request("GET", LIST, headers={"X-Request-ID": client.api_key})

    assert reply.headers["X-Request-ID"] != client.api_key


def test_the_request_id_is_kept_with_the_payment(client):
    body = {"amount": 1250, "currency": "EUR"}
    reply = client.post(LIST, body, key="k-1", headers={"X-Request-ID": "checkout-7"})

    assert Transaction.objects.get(id=reply.body["id"]).request_id == "checkout-7"
