"""The ledger check and the reconciliation find what is wrong, and nothing else.

The wrong is done on purpose here: by the owner of the schema with its guards switched off, and by charging at the
simulator behind the back of the service.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from urllib3 import HTTPResponse
from uuid_utils.compat import uuid7

from loadtests.tests.simulator import Simulator, running_gateway
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.registry import gateways
from payments.ledger import reconciliation
from payments.ledger.consistency import check_ledger
from payments.ledger.reconciliation import reconcile
from payments.models import Transaction, Unresolved
from payments.tests.consistency import check_books, gateway_key
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes


def pay(shop: Shop, amount: int = 1250, currency: str = "EUR") -> UUID:
    return shop.pay(amount, currency).body.id


def query(statement: str, values: list[object]) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()[0]


def found(shop: Shop) -> dict[str, list[str]]:
    """Check -> the resources that it names."""
    return {name: [finding.resource for finding in some] for name, some in check_ledger([shop.merchant.pk]) if some}


# --- The ledger check --------------------------------------------------------------------------------------

POST = """
    INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)
    SELECT max(id), transaction_id, 'gateway_clearing', 'EUR', 5 FROM payments_event
    WHERE transaction_id = %s GROUP BY transaction_id
"""
WRONG = {
    "legs_sum_to_zero": "UPDATE payments_ledgerleg SET amount = amount + 1"
    " WHERE transaction_id = %s AND account = 'fees'",
    "payments_are_posted_once": "DELETE FROM payments_ledgerleg WHERE transaction_id = %s",
    "refunds_add_up": "UPDATE payments_transaction SET amount_reserved = 7 WHERE id = %s",
    "what_is_open_is_unresolved": "INSERT INTO payments_unresolved (resource_id, transaction_id, lease_until)"
    " SELECT id, id, 'infinity' FROM payments_transaction WHERE id = %s",
    "status_is_the_last_event": "INSERT INTO payments_event (transaction_id, kind, actor, writer_id)"
    " SELECT transaction_id, 'declined', 'x', max(writer_id) FROM payments_event WHERE transaction_id = %s GROUP BY 1",
    "keys_are_one_to_one": "DELETE FROM payments_idempotencykey WHERE resource_id = %s",
    "final_payments_are_counted": "UPDATE payments_event SET writer_id = NULL WHERE transaction_id = %s",
}


CONSTRAINT = "transaction_is_consistent"


@pytest.mark.parametrize("check", WRONG)
def test_the_audit_names_the_payment_that_is_wrong(shop, tamper, check):
    pay(shop)
    wrong = pay(shop)

    tamper(WRONG[check], wrong)

    assert found(shop)[check] == [str(wrong)]
    Unresolved.objects.filter(resource_id=wrong).delete()


def test_the_audit_finds_a_fee_that_does_not_follow_from_the_rate(shop, tamper):
    wrong = pay(shop)
    rate = shop.principal.fee_basis_points
    definition = query("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", [CONSTRAINT])

    tamper(f"ALTER TABLE payments_transaction DROP CONSTRAINT {CONSTRAINT}")
    try:
        tamper("UPDATE payments_transaction SET fee_basis_points = 9999 WHERE id = %s", wrong)
        assert found(shop) == {"fees_follow_from_the_rate": [str(wrong)]}
    finally:
        tamper("UPDATE payments_transaction SET fee_basis_points = %s WHERE id = %s", rate, wrong)
        tamper(f"ALTER TABLE payments_transaction ADD CONSTRAINT {CONSTRAINT} {definition}")


def test_the_audit_finds_a_payment_posted_twice(shop, tamper):
    wrong = pay(shop)

    tamper(
        "INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)"
        " SELECT event_id, transaction_id, account, currency, amount FROM payments_ledgerleg WHERE transaction_id = %s",
        wrong,
    )

    assert found(shop) == {"payments_are_posted_once": [str(wrong)]}


def test_the_audit_finds_legs_of_a_payment_that_was_declined(shop, tamper):
    wrong = pay(shop, 1901)

    tamper(POST, wrong)

    assert {"legs_sum_to_zero", "legs_follow_from_a_success", "payments_are_posted_once"} <= set(found(shop))


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("refunds_are_posted_once", "UPDATE payments_refund SET amount = amount + 1 WHERE id = %s"),
        ("refunds_add_up", "UPDATE payments_refund SET amount = amount + 1 WHERE id = %s"),
        (
            "status_is_the_last_event",
            "UPDATE payments_event SET kind = 'refund_failed' WHERE refund_id = %s AND kind = 'refund_succeeded'",
        ),
        ("keys_are_one_to_one", "UPDATE payments_idempotencykey SET kind = 'payment' WHERE resource_id = %s"),
    ],
)
def test_the_audit_finds_a_refund_that_is_wrong(shop, tamper, check, change):
    payment = pay(shop)
    refund = shop.refund(payment, 400).body.id

    tamper(change, refund)

    assert found(shop)[check] == [str(payment if check == "refunds_add_up" else refund)]


def test_the_audit_finds_a_key_of_nothing(shop, tamper):
    tamper("INSERT INTO payments_idempotencykey VALUES (%s, 'k-1', %s, 'payment')", shop.merchant.pk, uuid4())

    assert list(found(shop)) == ["keys_belong_to_something"]


def test_the_audit_finds_an_open_payment_without_its_queue_entry(shop, tamper):
    wrong = pay(shop, 1922)

    tamper("DELETE FROM payments_unresolved WHERE resource_id = %s", wrong)

    assert found(shop) == {"what_is_open_is_unresolved": [str(wrong)]}


# --- The reconciliation ------------------------------------------------------------------------------------


@pytest.fixture
def differences(gateway, shop):
    """(check, resource) of what a reconciliation finds on this shop's account."""
    before = set(reconcile(HttpGateway(gateway.url, gateway.token), merchants=[shop.merchant.pk]).findings)

    def find(**options) -> list[tuple[str, str]]:
        report = reconcile(HttpGateway(gateway.url, gateway.token), merchants=[shop.merchant.pk], **options)
        return [(finding.check, finding.resource) for finding in report.findings if finding not in before]

    return find


def test_it_finds_a_charge_that_the_ledger_does_not_know(shop, gateway, differences):
    key = str(uuid7())
    gateway.post_charge(key, 1250)

    assert differences() == [("missing_in_ledger", key)]


def test_it_finds_a_charge_whose_key_is_none_of_ours(shop, gateway, differences):
    gateway.post_charge("somebody-else", 1250)

    assert differences() == [("missing_in_ledger", "somebody-else")]


def test_it_finds_a_charge_for_a_payment_that_failed_here(shop, gateway, differences):
    payment = pay(shop, 1911)
    gateway.post_charge(gateway_key(payment), 1250)

    assert differences() == [("missing_in_ledger", str(payment))]


def test_it_finds_a_payment_that_the_gateway_does_not_know(shop, tamper, differences):
    payment = pay(shop, 1901)
    tamper("UPDATE payments_event SET kind = 'succeeded' WHERE transaction_id = %s AND kind = 'declined'", payment)
    tamper(POST, payment)

    assert differences() == [("missing_at_gateway", str(payment))]


@pytest.mark.parametrize("change", ["amount = amount + 1", "currency = 'USD'"])
def test_it_finds_a_payment_booked_otherwise_than_charged(shop, tamper, differences, change):
    payment = pay(shop)
    tamper(f"UPDATE payments_ledgerleg SET {change} WHERE transaction_id = %s", payment)

    assert differences() == [("differs", str(payment))]


def test_it_finds_a_refund_that_the_ledger_does_not_know(shop, gateway, differences):
    payment, key = pay(shop), str(uuid7())
    gateway.post_refund(key, gateway_key(payment), 400)

    assert differences() == [("missing_in_ledger", key)]


def test_it_finds_a_refund_booked_on_another_payment(shop, tamper, differences):
    refund = shop.refund(pay(shop), 400).body.id
    other = pay(shop)
    tamper(
        "UPDATE payments_ledgerleg SET transaction_id = %s WHERE event_id IN"
        " (SELECT id FROM payments_event WHERE refund_id = %s)",
        other,
        refund,
    )

    assert differences() == [("differs", str(refund))]


def test_payments_before_the_start_are_left_out(shop, gateway, differences):
    gateway.post_charge(str(uuid7()), 1250)
    now = datetime.now(UTC)

    assert differences(since=now + timedelta(hours=1)) == []
    assert len(differences(since=now - timedelta(hours=1))) == 1


def test_a_charge_of_an_earlier_request_is_left_out_whenever_the_gateway_made_it(shop, gateway, differences):
    before = datetime.now(UTC)
    failed = pay(shop, 1911)
    between = Transaction.objects.get(id=failed).created_at + timedelta(milliseconds=1)
    gateway.post_charge(gateway_key(failed), 1250)

    assert differences(since=between) == []
    assert differences(since=before) == [("missing_in_ledger", str(failed))]


def test_many_pages_are_compared_whole(shop, gateway, monkeypatch, differences):
    for _ in range(7):
        pay(shop)
    monkeypatch.setattr(HttpGateway, "records", lambda self, after: self._read(f"/v1/records?after={after}&limit=3"))
    heard: list[int] = []

    assert differences(progress=heard.append) == []
    assert heard == sorted(heard)
    assert len(heard) > 2


def test_payments_that_come_meanwhile_are_no_finding(shop, gateway, monkeypatch, differences):
    """Charged after the page was read, or booked after the ledger was asked how far it goes."""
    read = reconciliation._records

    def slow(*arguments):
        pay(shop)
        yield from read(*arguments)
        pay(shop)
        pay(shop, 1922)

    monkeypatch.setattr("payments.ledger.reconciliation._records", slow)

    assert differences() == []


# --- The commands ------------------------------------------------------------------------------------------


def run(command: str, shop: Shop, *arguments: str) -> str:
    out = StringIO()
    call_command(command, f"--merchant={shop.merchant.pk}", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def fresh(tmp_path, monkeypatch) -> Iterator[tuple[Shop, Simulator]]:
    """A shop at a simulator of its own, where nothing is wrong yet."""
    with running_gateway(tmp_path) as gateway:
        monkeypatch.setitem(gateways.made, "simulator", HttpGateway(gateway.url, gateway.token))
        shop = Shop.open()
        shop.pay()
        yield shop, gateway


def test_open_work_is_no_finding(fresh):
    shop, gateway = fresh
    payment = pay(shop, 2000)
    pay(shop, 1922)
    shop.refund(payment, 922)

    assert found(shop) == {}
    assert run("reconcile", shop) == "4 items at the gateway, 2 in the ledger\n"
    shop.resolve()
    check_books(gateway, shop.merchant)


def test_the_commands_are_content_with_right_books(fresh):
    shop, _ = fresh
    report = json.loads(run("reconcile", shop, "--json"))
    assert report == {"since": None, "at_gateway": 1, "in_ledger": 1, "findings": []}
    assert run("reconcile", shop) == "1 items at the gateway, 1 in the ledger\n"
    assert json.loads(run("audit_ledger", shop, "--json"))["findings"] == []


def test_the_commands_fail_on_a_finding(fresh, tamper):
    shop, gateway = fresh
    gateway.post_charge("somebody-else", 5)
    with pytest.raises(CommandError, match="differ in 1 item") as refusal:
        run("reconcile", shop)
    assert refusal.value.returncode == 1

    tamper(WRONG["refunds_add_up"], pay(shop))
    with pytest.raises(CommandError, match="1 finding") as refusal:
        run("audit_ledger", shop, "--json")
    assert refusal.value.returncode == 1


def test_an_unavailable_gateway_is_no_finding(fresh):
    shop, gateway = fresh
    gateway.kill()

    with pytest.raises(CommandError, match="cannot be read") as refusal:
        run("reconcile", shop)
    assert refusal.value.returncode == 2


def test_an_answer_that_is_not_json_is_no_finding(fresh, monkeypatch):
    shop, _ = fresh
    monkeypatch.setattr(
        "urllib3.PoolManager.request",
        lambda *_, **__: HTTPResponse(BytesIO(b"<html>"), status=200, preload_content=False),
    )

    with pytest.raises(CommandError, match="cannot be read: the gateway's answer is not JSON") as refusal:
        run("reconcile", shop)
    assert refusal.value.returncode == 2


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00"])
def test_a_time_that_is_none_is_refused(fresh, since):
    shop, _ = fresh
    with pytest.raises(CommandError, match="since"):
        run("reconcile", shop, f"--since={since}")
