"""A standby is promoted while merchants pay: no acknowledged payment is lost, and service is back within seconds."""

import json
import time
from functools import partial

import psycopg
import pytest

from fintech.testing.processes import wait_until
from fintech.testing.replication import promote, stop_following
from payments.storage.group_commit import PaymentWriter
from payments.storage.payment_sql import Part
from payments.tests.crash.test_crash_postgres import SHORT, Shops, check, same_processes
from payments.tests.own_platform import OwnPlatform, replicated_platform

DRIFTS = ("kpi_drift", "ledger_imbalance", "gateway_drift")


@pytest.mark.processes
@pytest.mark.slow
def test_no_acknowledged_payment_is_lost_when_the_standby_is_promoted(tmp_path, capsys):
    with replicated_platform(tmp_path, synchronous=True, env=SHORT) as (own, standby), same_processes(own):
        with Shops(own) as shops:
            wait_until(shops.flows, timeout=30, what="payments flow")
            own.server.stop("immediate")  # the old primary never answers again
            since = len(shops.answers)
            promote(standby)
            start = time.monotonic()
            wait_until(partial(shops.flows, since), timeout=30, what="payments flow again")
            seconds = time.monotonic() - start
        own.server = standby
        check(own, shops.answers)
        wait_until(lambda: goes_on(own), timeout=60, what=lambda: f"measured, and 0: {drifts(own)}")
        code, printed = own.manage("verify_audit")
        assert code == 0, printed
    errors = sum(answer.status == 503 for answer in shops.answers)
    with capsys.disabled():
        print(f"\n{len(shops.answers)} payments, {errors} answers of 503; forty paid {seconds:.1f} s after promotion")


@pytest.mark.processes
@pytest.mark.slow
def test_payments_that_an_asynchronous_standby_lost_are_found_at_the_gateway_and_adopted(tmp_path):
    with replicated_platform(tmp_path, synchronous=False, env=SHORT) as (own, standby):
        kept = own.pay(key="kept")
        refunded = own.pay(2000, key="refunded")
        stop_following(own.server, standby)
        lost = own.pay(3000, key="lost")
        lost_refund = own.refund(refunded.body["id"], 500, key="lost-refund")
        assert {answer.status for answer in (kept, refunded, lost, lost_refund)} == {201}
        own.server.stop("immediate")
        promote(standby)
        own.server = standby

        assert own.query("SELECT count(*) FROM payments_transaction") == [(2,)], "two of three survived"
        code, printed = own.manage("reconcile", "--json")
        found = {(finding["check"], finding["detail"].partition(" of ")[0]) for finding in findings(printed)}
        missing = "missing_in_ledger"
        assert (code, found) == (1, {(missing, "the gateway made a charge"), (missing, "the gateway made a refund")})
        assert own.manage("audit_ledger")[0] == 0, "the books that are left agree with each other"
        wait_until(own.counters_equal_rows, timeout=30, what="a process that does not pay counts no lost payment")

        wait_until(lambda: pays_again(own, "lost"), timeout=30, what="the retry is answered")
        assert own.refund(refunded.body["id"], 500, key="lost-refund").status == 201
        own.settled()
        own.check_books()
        wait_until(lambda: goes_on(own), timeout=60, what=lambda: f"measured, and 0: {drifts(own)}")


def findings(printed: str) -> list[dict[str, str]]:
    """Return the findings of a command's JSON, which its error may follow."""
    found: list[dict[str, str]] = json.JSONDecoder().raw_decode(printed[printed.index("{") :])[0]["findings"]
    return found


def pays_again(own: OwnPlatform, key: str) -> bool:
    """Repeat the lost payment as its client would, after an answer of 503 too."""
    return own.pay(3000, key=key).status == 201


def drifts(own: OwnPlatform) -> dict[str, float]:
    """Return what the leader measures since the failover: its folds have forgotten the lost server."""
    samples = own.platform.scrape(own.platform.worker_port)
    return {name: value for name, value in samples.items() if name.startswith(DRIFTS)}


def goes_on(own: OwnPlatform) -> bool:
    """Pay, and return True without a drift."""
    own.pay()
    found = drifts(own)
    return all(any(name.startswith(one) for name in found) for one in DRIFTS) and not any(found.values())


def test_a_server_that_only_reads_is_unavailable_and_its_connection_is_not_used_again():
    """A demoted primary refuses a write with an error that was taken for the fault of a row."""
    writer = PaymentWriter()
    connection = writer._connected()
    connection.execute("SET default_transaction_read_only = on")

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        writer.write(Part.SETTLED, [])
    writer.write(Part.SETTLED, [])

    assert connection.closed
    writer.disconnect()
