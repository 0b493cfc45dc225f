"""One payment over HTTP, through real processes."""

import json
import re
import shutil
import subprocess

import pytest

from fintech.testing.processes import BASE_DIR, wait_until
from payments.api.batches import read_item
from payments.api.responses import problem_of
from payments.errors import PaymentError
from payments.models import Event, LedgerLeg, Transaction
from payments.tests.consistency import gateway_key

pytestmark = pytest.mark.processes


def test_a_payment_is_charged_booked_and_answered(client, gateway):
    reply = client.pay(1250, "EUR", reference="order-7")

    assert reply.status == 201, reply.body
    payment = reply.body
    assert payment["status"] == "succeeded", payment["failure"]
    assert gateway.charge(gateway_key(payment["id"]))["outcome"] == "approved"
    legs = LedgerLeg.objects.filter(transaction_id=payment["id"])
    assert {leg.account: leg.amount for leg in legs} == {
        "gateway_clearing": 1250,
        "merchant_payable": -1231,
        "fees": -19,
    }
    kinds = Event.objects.filter(transaction_id=payment["id"]).values_list("kind", flat=True)
    assert list(kinds) == ["processing", "succeeded"]


def test_a_lost_reply_is_unknown_and_then_settled(client, gateway):
    reply = client.pay(1922, "EUR")

    assert reply.status == 202, reply.body
    assert reply.body["status"] == "unknown"
    path = f"/v1/transactions/{reply.body['id']}"
    wait_until(lambda: client.get(path).body["status"] == "succeeded", timeout=10, what="the resolver settles")
    assert Transaction.objects.get(id=reply.body["id"]).status == "succeeded"


@pytest.mark.parametrize("key", ["", "two words", "order-7\n", "schlüssel", "x" * 256, 7])
def test_a_batch_item_refuses_the_keys_that_a_header_does(key):
    refusal = read_item({"idempotency_key": key, "amount": 1250, "currency": "EUR"})

    assert isinstance(refusal, PaymentError)
    assert problem_of(refusal).status == 400
    assert (refusal.code, refusal.param) == ("invalid_idempotency_key", "idempotency_key")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (apt install curl)")
def test_the_payment_of_the_readme_succeeds(client, platform, tmp_path):
    section = (BASE_DIR / "README.md").read_text().partition("## Make a payment")[2]
    [command] = re.findall(r"^```\n(KEY=.*?)^```", section, re.MULTILINE | re.DOTALL)
    key = tmp_path / "var" / "secrets" / "api_key"
    key.parent.mkdir(parents=True)
    key.write_text(client.api_key)

    command = command.replace("http://127.0.0.1:5000", platform.url)
    answer = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    head, body = re.split(r"\r?\n\r?\n", answer, maxsplit=1)
    assert head.startswith("HTTP/1.1 201")
    assert json.loads(body)["status"] == "succeeded"
