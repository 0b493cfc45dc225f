"""Cancels, replays and refunds that race with an attempt still under way."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from fintech.testing.processes import wait_until
from loadtests.tests.test_gateway_outcomes import DROPPED

pytestmark = pytest.mark.processes

HELD = 2  # seconds a request is held here: longer than what happens meanwhile takes


@pytest.fixture
def pool():
    with ThreadPoolExecutor(60) as executor:
        yield executor


def key() -> str:
    return str(uuid4())


@pytest.mark.parametrize("amount", [1925, 1250])
def test_a_cancel_fences_a_charge_that_is_still_held(gateway, amount):
    gateway.profile(hold_seconds=HELD, latency_ms=0 if amount == 1925 else HELD * 1000)
    used = key()
    held = gateway.hold_charge(used, amount)

    assert gateway.cancel(used).body == {"outcome": "cancelled", "key": used}

    answer = gateway.receive(held)
    assert (answer.status, answer.body["outcome"]) == (409, "cancelled")
    assert gateway.charge(used)["outcome"] == "cancelled"
    assert used not in [record["key"] for record in gateway.records()]


def test_a_held_charge_without_a_cancel_is_made_although_the_caller_has_disconnected(gateway):
    gateway.profile(hold_seconds=HELD)
    used = key()
    gateway.hold_charge(used, 1925).close()

    assert gateway.charge(used) == {"outcome": "not_found"}
    wait_until(lambda: gateway.charge(used)["outcome"] == "approved", what="the late charge")
    assert gateway.cancel(used).body["outcome"] == "already_charged"


def test_a_late_reply_does_not_undo_the_resolvers_answer(gateway):
    gateway.profile(hold_seconds=HELD)
    used = key()
    held = gateway.hold_charge(used, 1923)

    cancelled = gateway.cancel(used)

    assert cancelled.body["outcome"] == "already_charged"
    assert gateway.receive(held).body["reference"] == cancelled.body["reference"]


def test_cancels_and_charges_that_race_all_agree(gateway, pool):
    for _ in range(20):
        used = key()
        charges = [pool.submit(gateway.post_charge, used, 1250) for _ in range(4)]
        cancels = [pool.submit(gateway.cancel, used) for _ in range(4)]

        charged = {future.result().body["outcome"] for future in charges}
        cancelled = {future.result().body["outcome"] for future in cancels}

        moved = [record for record in gateway.records() if record["key"] == used]
        assert (charged, cancelled, len(moved)) in (
            ({"approved"}, {"already_charged"}, 1),
            ({"cancelled"}, {"cancelled"}, 0),
        )


def test_fifty_attempts_with_one_key_charge_once(gateway, pool):
    gateway.profile(latency_ms=20)
    used = key()

    answers = [f.result() for f in [pool.submit(gateway.post_charge, used, 1250) for _ in range(50)]]

    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["reference"] for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert len([record for record in gateway.records() if record["key"] == used]) == 1


@pytest.mark.parametrize("ratio", ["error_ratio", "unavailable_ratio"])
def test_not_charged_is_never_answered_while_another_attempt_may_still_charge(gateway, ratio):
    gateway.profile(latency_ms=HELD * 1000)
    used = key()
    held = gateway.hold_charge(used, 1250)
    gateway.profile(**{ratio: 1, "latency_ms": 0})

    answer = gateway.post_charge(used, 1250)

    assert (answer.status, answer.body["outcome"], answer.replayed) == (200, "approved", True)
    assert gateway.receive(held).body == answer.body


def test_a_hanging_request_does_not_block_another_attempt(gateway):
    gateway.profile(timeout_ratio=1, hold_seconds=HELD)
    used = key()
    held = gateway.hold_charge(used, 1250)
    gateway.profile(timeout_ratio=0)

    assert gateway.post_charge(used, 1250).body["outcome"] == "approved"

    with pytest.raises(DROPPED):
        gateway.receive(held)


def test_cancelling_twice_says_the_same_and_the_key_stays_closed(gateway):
    used = key()

    assert [gateway.cancel(used).body["outcome"] for _ in range(2)] == ["cancelled", "cancelled"]

    for amount in (1250, 1911, 1912, 1924):
        assert gateway.post_charge(used, amount).status == 409


def test_a_cancel_after_the_decision_returns_the_decision(gateway):
    approved, declined = key(), key()
    charge = gateway.post_charge(approved, 1250)
    gateway.post_charge(declined, 1904)

    assert gateway.cancel(approved).body == charge.body | {"outcome": "already_charged"}
    assert gateway.cancel(declined).body["outcome"] == "already_declined"
    assert gateway.cancel(declined).body["code"] == "lost_or_stolen"
    assert gateway.charge(approved) == charge.body


def test_lookup_and_cancel_can_be_made_to_fail(gateway):
    used = key()
    gateway.profile(cancel_fails=True)

    assert gateway.request("GET", f"/v1/charges/{used}").status == 503
    assert gateway.cancel(used).status == 503

    gateway.profile(cancel_fails=False)
    assert gateway.charge(used) == {"outcome": "not_found"}


def test_racing_refunds_never_exceed_the_charge(gateway, pool):
    gateway.profile(latency_ms=20)
    charge = key()
    gateway.post_charge(charge, 1000)

    refunds = [pool.submit(gateway.post_refund, key(), charge, 300) for _ in range(20)]

    outcomes = [(f.result().body["outcome"], f.result().body.get("code")) for f in refunds]
    assert outcomes.count(("approved", None)) == 3
    assert outcomes.count(("declined", "exceeds_charge")) == 17
    moved = [record["amount"] for record in gateway.records() if record["charge"] == charge]
    assert moved == [300, 300, 300]


def test_a_cancelled_refund_leaves_the_amount_to_others(gateway):
    charge, refund = key(), key()
    gateway.post_charge(charge, 1000)
    assert gateway.cancel(refund, kind="refund").body["outcome"] == "cancelled"

    assert gateway.post_refund(refund, charge, 1000).status == 409
    assert gateway.post_refund(key(), charge, 1000).body["outcome"] == "approved"


@pytest.mark.parametrize(
    ("charge_amount", "refund", "code"),
    [
        (None, (100, "EUR"), "charge_not_found"),
        (1901, (100, "EUR"), "charge_not_found"),
        (1000, (1001, "EUR"), "exceeds_charge"),
        (1000, (1000, "USD"), "currency_differs"),
    ],
)
def test_a_refund_that_cannot_be_is_declined(gateway, charge_amount, refund, code):
    charge, used = key(), key()
    if charge_amount:
        gateway.post_charge(charge, charge_amount)

    answer = gateway.post_refund(used, charge, *refund)

    assert (answer.status, answer.body["outcome"], answer.body["code"]) == (200, "declined", code)
    assert gateway.cancel(used, kind="refund").body["outcome"] == "already_declined"
