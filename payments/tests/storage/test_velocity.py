"""Sliding windows: the counters in the database decide as a plain list of payments would, also under concurrency."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from dataclasses import replace as copy
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from fintech.database.connections import open_connection
from fintech.telemetry import metric_slots
from payments.fraud.rules import MerchantContext, VelocityLimit, Verdict
from payments.fraud.velocity import apply_exceeded, decided_columns, forget_expired, try_payment, velocity_columns
from payments.models import (
    Event,
    IdempotencyKey,
    Merchant,
    Transaction,
    Unresolved,
    VelocityCounter,
    VelocityRule,
    Writer,
)
from payments.schemas import PaymentInput, PaymentMethod
from payments.storage.group_commit import STATEMENTS, Exceeded, PaymentWriter, _encode
from payments.storage.payment_sql import Part
from payments.storage.velocity_sql import KEPT, SLOTS

pytestmark = pytest.mark.usefixtures("leave_nothing_open")

MONTH = 30 * 24 * 3600  # its slots are so long that none ends during a test


@pytest.fixture(autouse=True)
def _epoch_of_its_own() -> Iterator[None]:
    slot = copy(metric_slots.slot(), epoch=uuid4())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric_slots, "slot", lambda: slot)
        yield


def limit(merchant: Merchant, maximum: int = 2, outcome: str = "block", **fields: Any) -> VelocityLimit:
    """Store a rule, and return it as payments know it."""
    measure = "sum" if "currency" in fields else "count"
    values = {"field": "customer", "measure": measure, "window_seconds": MONTH, **fields}
    row = VelocityRule.objects.create(merchant=merchant, maximum=maximum, outcome=outcome, **values)
    return VelocityLimit(row.pk, row.field, row.window_seconds, maximum, outcome, row.currency)


def payment(amount: int = 10, customer: str | None = "c_1", currency: str = "EUR", **method: str) -> PaymentInput:
    return PaymentInput(amount, currency, customer=customer, payment_method=PaymentMethod("card", **method))


@dataclass
class Till:
    """Stores payments of one merchant as the services do."""

    merchant: Merchant
    writer: PaymentWriter
    limits: tuple[VelocityLimit, ...]
    verdict: Verdict = field(default_factory=lambda: Verdict(0.0, [], blocked=False))

    def row(self, body: PaymentInput, **changes: Any) -> dict[str, Any]:
        context = MerchantContext("DE", 0.8, {}, 5000, velocity=self.limits)
        return {
            "id": uuid7(),
            "merchant_id": self.merchant.pk,
            "key": uuid4().hex,
            "amount": body.amount,
            "currency": body.currency,
            "fraud_score": self.verdict.score,
            "fraud_reasons": self.verdict.reasons,
            "metadata": {},
            "fee_basis_points": 0,
            "gateway": "test",
            "gateway_key": uuid4(),
            "lease_token": uuid4(),
            "lease_seconds": 60,
            **velocity_columns(body, self.verdict, context),
            **changes,
        }

    def store(self, *bodies: PaymentInput) -> list[Exceeded | None]:
        """Store payments in one group. Returns what each of them exceeded."""
        rows = [self.row(body) for body in bodies]
        stored, exceeded = self.writer.store_watched(rows)
        assert len(stored) == len(rows)
        return [exceeded.get(row["id"]) for row in rows]


def found(row: dict[str, Any]) -> Transaction:
    return Transaction.objects.get(id=row["id"])


def age(rule: VelocityLimit, slots: int) -> None:
    """Let as much time pass as the slots last."""
    VelocityCounter.objects.filter(rule_id=rule.rule).update(newest=F("newest") - slots)


# --- The window against a plain list -----------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.lists(st.tuples(st.sampled_from(["c_1", "c_2"]), st.integers(1, 50)), min_size=1, max_size=5),
        st.integers(0, SLOTS + 4),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, maximum=st.integers(0, 120), is_sum=st.booleans())
def test_each_payment_is_decided_as_by_a_list_of_the_payments_in_the_window(writer, merchant, steps, maximum, is_sum):
    VelocityRule.objects.filter(merchant=merchant).delete()
    rule = limit(merchant, maximum, **({"currency": "EUR"} if is_sum else {}))
    till = Till(merchant, writer, (rule,))
    past: list[tuple[int, str, int]] = []  # the slot of each payment, its customer and what it adds
    now = 0
    for step in steps:
        if isinstance(step, int):
            now += step
            age(rule, step)
            continue
        exceeded = till.store(*(payment(amount, customer) for customer, amount in step))
        for (customer, amount), verdict in zip(step, exceeded, strict=True):
            past.append((now, customer, amount if is_sum else 1))
            total = sum(added for slot, who, added in past if who == customer and now - slot < KEPT)
            assert (verdict is not None) == (total > maximum)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slots=st.lists(st.integers(0, 2**40), min_size=KEPT, max_size=KEPT), steps=st.integers(-(2**40), 2**40))
def test_a_counter_that_is_tried_equals_one_that_is_written(merchant, slots, steps):
    rule = limit(merchant, 0) if not VelocityRule.objects.filter(merchant=merchant).exists() else None
    number = rule.rule if rule else VelocityRule.objects.get(merchant=merchant).pk
    rule = VelocityLimit(number, "customer", MONTH, 0, "block")
    VelocityCounter.objects.filter(rule_id=number).delete()
    VelocityCounter.objects.create(rule_id=number, value="c_1", newest=newest() - steps, slots=slots)
    kept = sum(slots[: max(0, KEPT - max(0, steps))])

    assert total_of(rule) == kept


def newest() -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT floor(extract(epoch FROM now()) * {SLOTS} / {MONTH})::bigint")
        return int(cursor.fetchone()[0])


def total_of(rule: VelocityLimit) -> int:
    """Return the payments that the rule has counted, by the largest maximum that another payment exceeds."""
    low, high = -1, 2**46
    while low < high:
        middle = (low + high + 1) // 2
        context = MerchantContext("DE", 0.8, {}, 5000, velocity=(copy(rule, maximum=middle),))
        exceeds = try_payment(payment(), Verdict(0.0, [], blocked=False), context).blocked
        low, high = (middle, high) if exceeds else (low, middle - 1)
    return low


# --- What counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "other"),
    [
        ("customer", payment(customer="c_1"), payment(customer="c_2")),
        ("token", payment(token="tok_a"), payment(token="tok_b")),
        ("country", payment(country="FR"), payment(country="DE")),
    ],
)
def test_each_value_has_a_window_of_its_own(writer, merchant, name, first, other):
    till = Till(merchant, writer, (limit(merchant, 1, field=name),))

    assert [bool(one) for one in till.store(first, other, first)] == [False, False, True]


def test_a_payment_without_the_value_is_not_counted(writer, merchant):
    rule = limit(merchant, 0, field="token")
    till = Till(merchant, writer, (rule,))

    assert till.store(payment(), PaymentInput(10, "EUR")) == [None, None]
    assert not VelocityCounter.objects.filter(rule_id=rule.rule).exists()


def test_another_merchants_payments_are_not_counted(writer, merchant):
    other = Merchant.objects.create(name=f"Other than {merchant.name}", country="DE")
    tills = [Till(each, writer, (limit(each, 1),)) for each in (merchant, other)]

    assert [till.store(payment()) for till in tills] == [[None], [None]]


def test_a_sum_counts_its_currency_only(writer, merchant):
    till = Till(merchant, writer, (limit(merchant, 100, currency="EUR"),))

    exceeded = till.store(payment(100), payment(1000, currency="JPY"), payment(1))

    assert [bool(one) for one in exceeded] == [False, False, True]


def test_a_replay_is_not_counted(writer, merchant):
    rule = limit(merchant, 1)
    till = Till(merchant, writer, (rule,))
    row = till.row(payment())
    for _ in range(3):
        writer.store_watched([{**row, "id": uuid7()}])

    assert VelocityCounter.objects.get(rule_id=rule.rule).slots[0] == 1


def test_two_items_with_one_key_count_once(writer, merchant):
    rule = limit(merchant, 1)
    row = Till(merchant, writer, (rule,)).row(payment())
    stored, exceeded = writer.store_watched([row, {**row, "id": uuid7()}])

    assert (len(stored), exceeded) == (1, {})
    assert VelocityCounter.objects.get(rule_id=rule.rule).slots[0] == 1


# --- What a rule does --------------------------------------------------------------------------------------


def store_second(writer: PaymentWriter, merchant: Merchant, *limits: VelocityLimit, **options: Any) -> Transaction:
    till = Till(merchant, writer, limits, **options)
    till.store(payment())
    row = till.row(payment())
    writer.store_watched([row])
    return found(row)


def test_a_payment_beyond_a_blocking_rule_is_stored_as_blocked(writer, merchant):
    row = store_second(writer, merchant, rule := limit(merchant, 1))

    assert (row.status, row.failure_code, row.review, row.manual_capture) == ("blocked", "fraud_blocked", None, False)
    assert row.fraud_reasons == [f"velocity:customer:count:{MONTH}"]
    assert row.settled_at is not None
    event = Event.objects.get(transaction=row)
    assert event.kind == "blocked"
    assert event.writer_id is not None
    assert event.data["velocity"] == [{"rule": rule.rule, "observed": 2, "maximum": 1}]
    assert not Unresolved.objects.filter(resource_id=row.pk).exists()


@pytest.mark.parametrize("held_as", ["capture", "hold"])
def test_a_payment_beyond_a_review_rule_is_stored_as_held(writer, merchant, held_as):
    rule = limit(merchant, 0, "review")
    row = Till(merchant, writer, (rule,)).row(replace(payment(), capture=held_as == "capture"))
    writer.store_watched([row])

    stored = found(row)
    assert (stored.status, stored.review, stored.manual_capture) == ("processing", held_as, True)
    assert stored.capture is (held_as == "capture")
    assert Unresolved.objects.filter(resource_id=stored.pk).exists()


def test_a_block_counts_more_than_a_review(writer, merchant):
    row = store_second(writer, merchant, limit(merchant, 1, "review"), limit(merchant, 1, "block"))

    assert (row.status, row.review, row.manual_capture) == ("blocked", None, False)
    assert row.fraud_reasons == [f"velocity:customer:count:{MONTH}"]


def test_a_payment_that_its_score_held_is_still_blocked_by_a_rule(writer, merchant):
    till = Till(merchant, writer, (limit(merchant, 0),), Verdict(0.6, ["risky_token"], blocked=False, review=True))
    row = till.row(payment())
    writer.store_watched([row])

    assert (found(row).status, found(row).review, found(row).manual_capture) == ("blocked", None, False)


def test_a_blocked_payment_counts_and_stays_blocked(writer, merchant):
    verdict = Verdict(1.0, ["stolen_token"], blocked=True)
    row = store_second(writer, merchant, limit(merchant, 1, "review"), verdict=verdict)

    assert (row.status, row.review) == ("blocked", None)
    assert row.fraud_reasons == ["stolen_token", f"velocity:customer:count:{MONTH}"]


def test_the_allow_list_counts_more_than_a_rule_which_is_named(writer, merchant):
    verdict = Verdict(0.0, ["allow_list:customer"], False, "allow_list")
    row = store_second(writer, merchant, limit(merchant, 1), limit(merchant, 1, "review"), verdict=verdict)

    assert (row.status, row.review, row.manual_capture) == ("processing", None, False)
    assert row.fraud_reasons == ["allow_list:customer", f"velocity:customer:count:{MONTH}"]


VERDICTS = {
    "accepted": Verdict(0.0, [], blocked=False),
    "held": Verdict(0.6, ["risky_token"], blocked=False, review=True),
    "blocked": Verdict(1.0, ["stolen_token"], blocked=True),
    "allowed": Verdict(0.0, ["allow_list:customer"], False, "allow_list"),
}


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize("outcomes", [[], ["review"], ["block"], ["review", "block"]], ids=" and ".join)
@pytest.mark.parametrize("verdict", VERDICTS.values(), ids=VERDICTS)
def test_the_stored_payment_equals_the_one_that_is_answered(writer, merchant, verdict, outcomes, capture):
    till = Till(merchant, writer, tuple(limit(merchant, 0, outcome) for outcome in outcomes), verdict)
    body = replace(payment(), capture=capture)
    row = till.row(body)
    _, exceeded = writer.store_watched([row])

    if rules := exceeded.get(row["id"]):
        verdict = apply_exceeded(verdict, rules.reasons, rules.outcome)
    expected = {"failure_code": None, "manual_capture": False, "review": None, **decided_columns(body, verdict)}
    stored = found(row)
    assert {name: getattr(stored, name) for name in expected} == expected
    assert stored.fraud_reasons == verdict.reasons
    assert len(exceeded) == bool(outcomes)


# --- Trying, races, and cleaning up ------------------------------------------------------------------------


def test_a_trial_decides_as_the_next_payment_and_counts_nothing(writer, merchant):
    rule = limit(merchant, 1, "review")
    context = MerchantContext("DE", 0.8, {}, 5000, velocity=(rule,))
    calm = Verdict(0.0, [], blocked=False)
    till = Till(merchant, writer, (rule,))

    assert try_payment(payment(), calm, context) == calm
    assert not VelocityCounter.objects.filter(rule_id=rule.rule).exists()
    till.store(payment())
    verdicts = [try_payment(payment(), calm, context) for _ in range(2)]

    assert verdicts == [Verdict(0.0, [rule.reason], False, "velocity", True)] * 2
    assert VelocityCounter.objects.get(rule_id=rule.rule).slots[0] == 1
    assert [one and one.outcome for one in till.store(payment())] == ["review"]


def test_processes_that_store_at_once_let_exactly_the_maximum_through(writer, merchant):
    """Their groups share two counters, and have them in opposite order."""
    rules = (limit(merchant, 10), limit(merchant, 10**6, field="country"))
    writer_id = Writer.objects.create(slot="test", epoch=uuid4()).pk

    def store(number: int) -> int:
        till = Till(merchant, writer, rules)
        values = [("c_1", "FR"), ("c_2", "DE")]
        rows = [till.row(payment(customer=who, country=where)) for who, where in values[:: 1 if number % 2 else -1]]
        with open_connection("group") as other:
            values_sent = {"watched": _encode(rows), "writer": writer_id}
            ((*_, exceeded),) = other.execute(STATEMENTS[Part.WATCHED,], values_sent).fetchall()
            return len(rows) - len(exceeded or ())

    with ThreadPoolExecutor(6) as threads:
        accepted = sum(threads.map(store, range(30)))

    assert accepted == 20
    counted = VelocityCounter.objects.filter(rule_id=rules[0].rule).values_list("value", "slots__0")
    assert dict(counted) == {"c_1": 30, "c_2": 30}


def test_counters_are_forgotten_when_their_window_is_over_or_their_rule_is_gone(writer, merchant):
    kept, old, removed = (limit(merchant, 1, field=name) for name in ("customer", "token", "country"))
    Till(merchant, writer, (kept, old, removed)).store(payment(token="tok_a", country="FR"))
    age(kept, SLOTS)
    age(old, KEPT)
    VelocityRule.objects.get(pk=removed.rule).delete()
    forget_expired()

    rules = [rule.rule for rule in (kept, old, removed)]
    assert list(VelocityCounter.objects.filter(rule_id__in=rules).values_list("rule_id", flat=True)) == [kept.rule]


def test_plain_payments_and_watched_ones_share_a_commit(writer, merchant):
    till = Till(merchant, writer, (limit(merchant, 0),))
    watched = [till.row(payment()) for _ in range(5)]
    plain = [{**till.row(payment()), "status": "processing"} for _ in range(5)]
    with ThreadPoolExecutor(10) as threads:
        results = [threads.submit(writer.write, Part.CREATED, [row]) for row in plain]
        found_rules = [threads.submit(writer.store_watched, [row]) for row in watched]

    assert all(result.result() for result in results)
    assert all(result.result()[1] for result in found_rules)
    statuses = dict(Transaction.objects.filter(merchant=merchant).values_list("id", "status"))
    assert {statuses[row["id"]] for row in watched} == {"blocked"}
    assert {statuses[row["id"]] for row in plain} == {"processing"}
    assert IdempotencyKey.objects.filter(merchant_id=merchant.pk).count() == 10
