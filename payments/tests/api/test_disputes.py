"""Disputes over HTTP: the gateway's events, the merchant's answers, lists, webhooks' objects and metrics."""

import secrets

import pytest

from fintech.testing.processes import wait_until
from payments.api_keys import create_api_key
from payments.models import Dispute
from payments.tests.conftest import Client
from payments.tests.consistency import check_books

pytestmark = pytest.mark.processes

FILE = {"name": "receipt.pdf", "sha256": "a" * 64, "size": 4821}
EVIDENCE = {"text": "The parcel was signed for.", "files": [FILE]}


def read(client: Client, dispute: str) -> dict[str, object]:
    reply = client.get(f"/v1/disputes/{dispute}")
    assert reply.status == 200, reply.body
    return reply.body


def test_a_dispute_is_answered_and_won(client, platform, gateway, open_dispute):
    payment = client.pay(5000).body["id"]
    dispute = open_dispute(payment, amount=2000, fee=700)
    refused = client.refund(payment, 100)
    assert (refused.status, refused.body["code"]) == (409, "transaction_disputed")

    answered = client.post(f"/v1/disputes/{dispute}/evidence", EVIDENCE)
    again = client.post(f"/v1/disputes/{dispute}/evidence", EVIDENCE)

    assert (answered.status, answered.body["status"]) == (200, "under_review")
    assert again.status == 200
    assert ("Idempotency-Replayed" in answered.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert [(one["kind"], one["text"], one["files"]) for one in again.body["responses"]] == [
        ("evidence", EVIDENCE["text"], [FILE])
    ]
    wait_until(
        lambda: read(client, dispute)["responses"][0]["delivered_at"] is not None,
        timeout=60,
        what="the gateway has the evidence",
    )
    assert read(client, dispute)["responses"][0].items() >= {"outcome": "taken", "failure": None}.items()
    key = Dispute.objects.get(pk=dispute).gateway_key
    won = gateway.request("POST", f"/control/disputes/{key}", {"state": "won"}, token=gateway.control_token)
    assert won.status == 200, won
    wait_until(lambda: read(client, dispute)["status"] == "won", timeout=60, what="the dispute is won")
    assert client.refund(payment, 100).status == 201
    types = [entry["type"] for entry in client.get(f"/v1/transactions/{payment}/events").body["data"]]
    assert [kind for kind in types if kind.startswith("dispute_")] == [
        "dispute_opened",
        "dispute_needs_response",
        "dispute_under_review",
        "dispute_won",
    ]
    check_books(gateway, client.merchant)
    wait_until(
        lambda: len(client.get("/v1/events?type=dispute.won").body["data"]) == 1,
        timeout=60,
        what="the end is announced",
    )
    announced = client.get("/v1/events?type=dispute.needs_response").body["data"][0]["data"]
    assert (announced["status"], announced["settled_at"]) == ("needs_response", None)
    assert announced["evidence_due_at"] == read(client, dispute)["evidence_due_at"]
    opened = client.get("/v1/events?type=dispute.opened").body["data"][0]["data"]
    assert (opened["amount"], opened["fee"], opened["evidence_due_at"]) == (2000, 700, None)


def test_an_accepted_dispute_is_lost(client, gateway, open_dispute):
    dispute = open_dispute(client.pay(5000).body["id"])

    accepted = client.post(f"/v1/disputes/{dispute}/accept", None)

    assert (accepted.status, accepted.body["status"]) == (200, "lost")
    again = client.post(f"/v1/disputes/{dispute}/accept", {})
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    refused = client.post(f"/v1/disputes/{dispute}/evidence", EVIDENCE)
    assert (refused.status, refused.body["code"]) == (409, "not_awaiting_response")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n\t\u00a0"}, "text"),
        ({"text": "\u200b\u200d\ufeff"}, "text"),
        ({"text": "a", "files": [FILE | {"name": "\u200b"}]}, "files[0].name"),
        ({"text": "a\0b"}, "text"),
        ({"text": "x" * 20_001}, "text"),
        ({"text": "paid with 4111 1111 1111 1111"}, "text"),
        ({"text": "a", "file": "b"}, "file"),
        ({"text": "a", "files": [{"name": "a"}]}, "files[0].sha256"),
        ({"text": "a", "files": [FILE | {"sha256": "A" * 64}]}, "files[0].sha256"),
        ({"text": "a", "files": [FILE | {"size": 0}]}, "files[0].size"),
        ({"text": "a", "files": [FILE | {"content": "x"}]}, "files[0].content"),
        ({"text": "a", "files": [FILE] * 21}, "files"),
    ],
)
def test_bad_evidence_is_refused_and_nothing_is_stored(client, gateway, open_dispute, body, param):
    dispute = open_dispute(client.pay(5000).body["id"])

    reply = client.post(f"/v1/disputes/{dispute}/evidence", body)

    assert (reply.status, reply.body["param"]) == (422, param), reply.body
    assert (read(client, dispute)["status"], read(client, dispute)["responses"]) == ("needs_response", [])


def test_the_dispute_of_another_merchant_does_not_exist(client, other_client, open_dispute):
    dispute = open_dispute(client.pay(5000).body["id"])

    assert other_client.get(f"/v1/disputes/{dispute}").status == 404
    assert other_client.post(f"/v1/disputes/{dispute}/evidence", EVIDENCE).status == 404
    assert other_client.post(f"/v1/disputes/{dispute}/accept", None).status == 404
    assert other_client.get("/v1/disputes").body["data"] == []


def test_an_id_that_is_none_is_not_found(client):
    assert client.get("/v1/disputes/none").status == 404
    assert client.post(f"/v1/disputes/{secrets.token_hex(16)}/accept", None).status == 404


def test_the_list_is_filtered_and_paged(client, open_dispute):
    payments = [client.pay(5000).body["id"] for _ in range(2)]
    disputes = [open_dispute(payment) for payment in payments]

    first = client.get("/v1/disputes?limit=1").body
    second = client.get(first["next"]).body

    assert [row["id"] for row in first["data"] + second["data"]] == disputes[::-1]
    assert second["next"] is None
    assert [row["id"] for row in client.get(f"/v1/disputes?transaction={payments[0]}").body["data"]] == disputes[:1]
    assert client.get("/v1/disputes?status=won").body["data"] == []


@pytest.mark.parametrize("query", ["status=gone", "transaction=1", "cursor=x", "limit=0", "colour=red"])
def test_a_wrong_query_is_refused(client, query):
    assert client.get(f"/v1/disputes?{query}").status in (400, 422)


@pytest.mark.parametrize("scope", ["payments:read", "payments:write"])
def test_an_answer_needs_the_scope_of_refunds(client, platform, open_dispute, scope):
    dispute = open_dispute(client.pay(5000).body["id"])
    _, secret = create_api_key(merchant=client.merchant, name="other", scopes=[scope])

    reply = platform.request("POST", f"/v1/disputes/{dispute}/evidence", EVIDENCE, api_key=secret)

    assert reply.status == 403
    assert read(client, dispute)["status"] == "needs_response"
