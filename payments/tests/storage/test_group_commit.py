"""The group commit: no request waits in vain or fails for another's error, and counters equal rows after
any failure.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from uuid_utils.compat import uuid7

from fintech.database.connections import open_connection
from fintech.server import cooperation
from fintech.telemetry import metric_slots as slots
from fintech.testing.processes import wait_until
from fintech.testing.tasks import event_loop, run_task
from payments import metrics
from payments.currencies import to_major
from payments.models import Event, LedgerLeg, Merchant, Transaction, Unresolved, Writer
from payments.storage import group_commit
from payments.storage.counters import CounterState
from payments.storage.group_commit import MAX_GROUP, MAX_TURNS, PaymentWriter, _encode
from payments.storage.payment_sql import CREATE_PAYMENTS, STATEMENTS, Part

pytestmark = pytest.mark.usefixtures("leave_nothing_open")

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _epoch_of_its_own() -> Iterator[None]:
    """Other tests of this session tamper with their payments on purpose: those are not these counters' to hold."""
    slot = replace(slots.slot(), epoch=uuid4())
    metrics.AMOUNT.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "slot", lambda: slot)
        yield


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def new_row(merchant: Merchant, **changes: Any) -> Row:
    return {
        "id": uuid7(),
        "merchant_id": merchant.pk,
        "key": uuid4().hex,
        "amount": 10,
        "currency": "EUR",
        "status": "processing",
        "fraud_score": 0.0,
        "fraud_reasons": [],
        "metadata": {},
        "fee_basis_points": 1_000,
        "gateway": "test",
        "gateway_key": uuid4(),
        "lease_token": uuid4(),
        "lease_seconds": 60,
        **changes,
    }


def settled(row: Row, **changes: Any) -> Row:
    wanted = {"id": row["id"], "lease_token": row["lease_token"], "status": "succeeded", "actor": "api"}
    return {**wanted, "gateway_reference": "gw_test", **changes}


def session() -> str:
    return f"writer {slots.slot().epoch} {slots.slot().name}"


def query(statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def blocked() -> bool:
    """Return True if the writer's session waits for a lock."""
    statement = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    return bool(query(statement, session()))


@contextmanager
def lock(statement: str, *values: Any) -> Iterator[None]:
    """Holds what `statement` locks, in a session of its own."""
    with open_connection("lock") as other, other.transaction(force_rollback=True):
        other.execute(statement, values)
        yield


@contextmanager
def key_held(row: Row) -> Iterator[None]:
    """Another session has taken this key and not yet committed: `CREATE_PAYMENTS` waits for it."""
    statement = "INSERT INTO payments_idempotencykey VALUES (%s, %s, %s, 'payment')"
    with lock(statement, row["merchant_id"], row["key"], uuid4()):
        yield


@contextmanager
def lease_held(row: Row) -> Iterator[None]:
    with lock("SELECT 1 FROM payments_unresolved WHERE resource_id = %s FOR UPDATE", row["id"]):
        yield


def counters() -> dict[str, float]:
    counted = {status: counter._value.get() for status, counter in metrics.STATUS.items()}
    counted["unknown"] = metrics.UNKNOWN_OUTCOMES._value.get()
    counted["EUR"] = metrics.AMOUNT.labels("EUR")._sum.get()
    counted["EUR count"] = metrics.AMOUNT.labels("EUR")._count.get()
    return counted


def rows() -> dict[str, float]:
    """Return the correct counters of this slot."""
    ours = Writer.objects.filter(slot=slots.slot().name, epoch=slots.slot().epoch)
    events = Event.objects.filter(writer_id__in=ours.values("id"))
    expected: dict[str, float] = {kind: events.filter(kind=kind).count() for kind in (*metrics.STATUS, "unknown")}
    sold = LedgerLeg.objects.filter(account="gateway_clearing", currency="EUR")
    # Read first: a join of tables that are not analyzed yet can exceed the statement timeout on a slow machine.
    succeeded = list(events.filter(kind="succeeded").values_list("pk", flat=True))
    amounts = sold.filter(event_id__in=succeeded).values_list("amount", flat=True)
    return expected | {"EUR": to_major(sum(amounts), "EUR"), "EUR count": len(amounts)}


def commits(ids: Sequence[UUID]) -> int:
    """In how many database transactions these payments were stored."""
    return query("SELECT count(DISTINCT xmin::text) FROM payments_transaction WHERE id = ANY(%s)", list(ids))[0][0]


def all_waiting(writer: PaymentWriter, number: int) -> Callable[[], bool]:
    return lambda: len(writer._queue) == number


# --- Groups ------------------------------------------------------------------------------------------------


def test_a_lone_request_is_not_delayed(writer, merchant):
    row = new_row(merchant)

    assert list(writer.write(Part.CREATED, [row])) == [row["id"]]
    assert list(writer.write(Part.SETTLED, [settled(row)])) == [row["id"]]
    assert Transaction.objects.get(id=row["id"]).status == "succeeded"


def test_requests_that_arrive_during_a_commit_share_the_next_one(writer, merchant, pool):
    first = new_row(merchant)
    others = [new_row(merchant) for _ in range(40)]
    with key_held(first):
        leader = pool.submit(writer.write, Part.CREATED, [first])
        wait_until(blocked, what="the leader waits for the key")
        waiting = [pool.submit(writer.write, Part.CREATED, [row]) for row in others]
        wait_until(all_waiting(writer, 40), what="40 wait for the leader")

    assert list(leader.result(10)) == [first["id"]]
    assert [list(future.result(10)) for future in waiting] == [[row["id"]] for row in others]
    assert commits([row["id"] for row in others]) == 1


def store_one_a_turn(writer: PaymentWriter, batch: Sequence[Row]) -> list[UUID]:
    """Store each row in a task of an event loop, in which a request arrives in every turn. Return the stored ids."""
    stored: list[UUID] = []
    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:

        def arrive(waiting: Sequence[Row]) -> None:
            cooperation.spawn(lambda: stored.extend(writer.write(Part.CREATED, waiting[:1])))
            if waiting[1:]:
                loop.call_soon(arrive, waiting[1:])

        async def all_stored() -> None:
            arrive(batch)
            while len(stored) < len(batch):
                await asyncio.sleep(0.01)

        loop.run_until_complete(asyncio.wait_for(all_stored(), 30))
    return stored


def test_requests_that_arrive_in_following_turns_of_the_loop_share_a_commit(writer, merchant):
    batch = [new_row(merchant) for _ in range(MAX_TURNS)]

    assert set(store_one_a_turn(writer, batch)) == {row["id"] for row in batch}
    assert commits([row["id"] for row in batch]) == 1


def test_while_a_page_is_in_hand_a_group_gathers_longer(writer, merchant, monkeypatch):
    monkeypatch.setattr(cooperation, "PAGE_PAUSE_SECONDS", 0.5)
    batch = [new_row(merchant) for _ in range(3 * MAX_TURNS)]
    with cooperation.pages:
        store_one_a_turn(writer, batch)

    assert commits([row["id"] for row in batch]) == 1


def test_requests_that_keep_arriving_delay_the_first_one_by_a_few_turns_only(writer, merchant):
    batch = [new_row(merchant) for _ in range(10 * MAX_TURNS)]

    assert set(store_one_a_turn(writer, batch)) == {row["id"] for row in batch}
    assert commits([row["id"] for row in batch]) > 1


def test_one_group_holds_every_kind_of_work(writer, merchant, pool):
    known, lost, new, first = (new_row(merchant) for _ in range(4))
    writer.write(Part.CREATED, [known, lost])
    with key_held(first):
        leader = pool.submit(writer.write, Part.CREATED, [first])
        wait_until(blocked, what="the leader waits for the key")
        futures = [
            pool.submit(writer.write, Part.CREATED, [new]),
            pool.submit(writer.write, Part.SETTLED, [settled(known)]),
            pool.submit(writer.write, Part.UNKNOWN, [settled(lost, status="unknown")]),
        ]
        wait_until(all_waiting(writer, 3), what="three wait for the leader")

    leader.result(10)
    assert [list(future.result(10)) for future in futures] == [[new["id"]], [known["id"]], [lost["id"]]]
    statuses = Transaction.objects.in_bulk([known["id"], lost["id"], new["id"]])
    assert [statuses[row["id"]].status for row in (known, lost, new)] == ["succeeded", "unknown", "processing"]
    assert counters() == rows()


def test_new_payments_and_outcomes_of_others_share_one_commit(writer, merchant, pool):
    known, new, first = (new_row(merchant) for _ in range(3))
    writer.write(Part.CREATED, [known])
    with key_held(first):
        leader = pool.submit(writer.write, Part.CREATED, [first])
        wait_until(blocked, what="the leader waits for the key")
        futures = [
            pool.submit(writer.write, Part.SETTLED, [settled(known)]),
            pool.submit(writer.write, Part.CREATED, [new]),
        ]
        wait_until(all_waiting(writer, 2), what="two wait for the leader")

    leader.result(10)
    assert outcomes(futures) == [[known["id"]], [new["id"]]]
    assert commits([known["id"], new["id"]]) == 1


def test_a_refused_outcome_does_not_affect_the_new_payment_of_its_group(writer, merchant, pool):
    known, new, first = (new_row(merchant) for _ in range(3))
    writer.write(Part.CREATED, [known])
    with key_held(first):
        leader = pool.submit(writer.write, Part.CREATED, [first])
        wait_until(blocked, what="the leader waits for the key")
        refused = pool.submit(writer.write, Part.SETTLED, [settled(known, status="blocked")])
        stored = pool.submit(writer.write, Part.CREATED, [new])
        wait_until(all_waiting(writer, 2), what="two wait for the leader")

    leader.result(10)
    with pytest.raises(psycopg.errors.CheckViolation):
        refused.result(10)
    assert list(stored.result(10)) == [new["id"]]
    assert counters() == rows()


def test_a_deadlock_fails_no_request(writer, merchant, pool):
    """Another session locks a lease of the group, then waits for a key of the group: PostgreSQL ends one of the two."""
    known, new, first = (new_row(merchant) for _ in range(3))
    writer.write(Part.CREATED, [known])
    take = "INSERT INTO payments_idempotencykey VALUES (%s, %s, %s, 'payment')"
    with open_connection("other") as other, other.transaction(force_rollback=True):
        other.execute("SELECT 1 FROM payments_unresolved WHERE resource_id = %s FOR UPDATE", [known["id"]])
        with key_held(first):
            leader = pool.submit(writer.write, Part.CREATED, [first])
            wait_until(blocked, what="the leader waits for the key")
            futures = [
                pool.submit(writer.write, Part.SETTLED, [settled(known)]),
                pool.submit(writer.write, Part.CREATED, [new]),
            ]
            wait_until(all_waiting(writer, 2), what="two wait for the leader")
        leader.result(10)
        wait_until(blocked, what="the group waits for the lease")
        with suppress(psycopg.errors.DeadlockDetected):
            other.execute(take, [merchant.pk, new["key"], uuid4()])

    assert outcomes(futures) == [[known["id"]], [new["id"]]]
    assert counters() == rows()


@pytest.mark.parametrize(
    ("setting", "expected"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply"), ("on", "on")]
)
def test_a_payment_is_durable_whatever_the_session_says(merchant, setting, expected):
    row = new_row(merchant)
    values = {"created": _encode([row]), "settled": _encode([settled(row)]), "unknown": "[]", "writer": 1}
    values["watched"] = _encode([new_row(merchant, velocity=[], decided={"none": {"status": "processing"}})])
    with open_connection("left by another client", synchronous_commit=setting) as other:
        for statement in STATEMENTS.values():
            with other.transaction(force_rollback=True):
                other.execute(statement, values)
                assert other.execute("SHOW synchronous_commit").fetchone() == (expected,)


def test_a_group_is_no_larger_than_the_largest_batch(writer, merchant, pool):
    first = new_row(merchant)
    batches = [[new_row(merchant) for _ in range(MAX_GROUP * 6 // 10)] for _ in range(2)]
    with key_held(first):
        leader = pool.submit(writer.write, Part.CREATED, [first])
        wait_until(blocked, what="the leader waits for the key")
        waiting = [pool.submit(writer.write, Part.CREATED, batch) for batch in batches]
        wait_until(all_waiting(writer, 2), what="two batches wait")

    leader.result(10)
    assert [len(future.result(20)) for future in waiting] == [600, 600]
    assert commits([row["id"] for batch in batches for row in batch]) == 2


def test_a_batch_of_a_thousand_is_one_commit_each_way(writer, merchant):
    batch = [new_row(merchant, amount=number + 1, fee_basis_points=0) for number in range(1000)]
    before = counters()

    assert len(writer.write(Part.CREATED, batch)) == 1000
    assert len(writer.write(Part.SETTLED, [settled(row) for row in batch])) == 1000

    assert commits([row["id"] for row in batch]) == 1
    assert counters()["succeeded"] == before["succeeded"] + 1000
    assert counters() == rows()


def test_the_first_of_two_items_with_one_key_wins_and_the_other_leaves_nothing(writer, merchant):
    one, two = new_row(merchant, key="k"), new_row(merchant, key="k")

    stored = writer.write(Part.CREATED, [one, two])

    assert len(stored) == 1
    assert Transaction.objects.filter(merchant=merchant).count() == 1
    assert Unresolved.objects.filter(resource_id__in=[one["id"], two["id"]]).count() == 1
    assert Event.objects.filter(transaction_id__in=[one["id"], two["id"]]).count() == 1


def test_no_wake_up_is_ever_lost(writer, merchant, pool):
    """Many short turns, with bad rows among them: all come back, each with its own result."""
    stop = threading.Event()

    def shopper(seed: int) -> int:
        random, done = Random(seed), 0
        while not stop.is_set() and done < 25:
            batch = [new_row(merchant) for _ in range(random.choice((1, 1, 3)))]
            if random.random() < 0.1:
                with suppress(psycopg.Error):
                    writer.write(Part.CREATED, [new_row(merchant, amount=0)])
                    pytest.fail("a payment of nothing was stored")
            assert set(writer.write(Part.CREATED, batch)) == {row["id"] for row in batch}
            assert set(writer.write(Part.SETTLED, [settled(row) for row in batch])) == {row["id"] for row in batch}
            done += 1
        return done

    futures = [pool.submit(shopper, seed) for seed in range(24)]
    try:
        assert [future.result(60) for future in futures] == [25] * 24
    finally:
        stop.set()
    assert writer._queue == []
    assert not writer._has_leader
    assert counters() == rows()


def test_groups_that_share_keys_do_not_deadlock(merchant):
    """Two processes with the same keys in opposite order: each key is taken once, without a deadlock."""
    writer_id = Writer.objects.create(slot="test", epoch=uuid4()).pk

    def store(batch: list[Row]) -> int:
        with open_connection("group") as other:
            values = {"created": _encode(batch), "writer": writer_id}
            ((_, _, missing, _, _),) = other.execute(CREATE_PAYMENTS, values).fetchall()
            return len(batch) - len(missing)

    for _ in range(10):
        keys = [uuid4().hex for _ in range(30)]
        batches = [[new_row(merchant, key=key) for key in order] for order in (keys, keys[::-1], keys[15:] + keys[:15])]
        with ThreadPoolExecutor(3) as threads:
            assert sum(threads.map(store, batches)) == 30


# --- Mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "poison",
    [{"amount": 0}, {"currency": "eur"}, {"customer": "\0"}, {"merchant_id": "x"}, {"metadata": {"x": object()}}],
    ids=["refused by a constraint", "another", "text that cannot be stored", "a wrong type", "not JSON"],
)
def test_a_poisonous_row_takes_no_other_with_it(writer, merchant, pool, poison):
    first, good, bad = new_row(merchant), [new_row(merchant) for _ in range(5)], new_row(merchant, **poison)
    with key_held(first):
        leader = pool.submit(writer.write, Part.CREATED, [first])
        wait_until(blocked, what="the leader waits for the key")
        waiting = [pool.submit(writer.write, Part.CREATED, [row]) for row in (*good[:2], bad, *good[2:])]
        wait_until(all_waiting(writer, 6), what="six wait")

    leader.result(10)
    results = outcomes(waiting)
    assert isinstance(results.pop(2), psycopg.Error)
    assert results == [[row["id"]] for row in good]
    assert not Transaction.objects.filter(id=bad["id"]).exists()


def outcomes(futures: Sequence[Future[dict[UUID, Any]]]) -> list[list[UUID] | BaseException]:
    return [future.exception(20) or list(future.result()) for future in futures]


def test_a_payment_settled_wrongly_takes_no_other_with_it(writer, merchant, pool):
    first, good, bad = (new_row(merchant) for _ in range(3))
    writer.write(Part.CREATED, [good, bad])
    before = counters()
    with key_held(first):
        leader = pool.submit(writer.write, Part.CREATED, [first])
        wait_until(blocked, what="the leader waits for the key")
        waiting = [
            pool.submit(writer.write, Part.SETTLED, [settled(bad, status="paid")]),
            pool.submit(writer.write, Part.SETTLED, [settled(good)]),
        ]
        wait_until(all_waiting(writer, 2), what="two wait")

    leader.result(10)
    assert isinstance(waiting[0].exception(10), psycopg.errors.CheckViolation)
    assert list(waiting[1].result(10)) == [good["id"]]
    assert Transaction.objects.get(id=bad["id"]).status == "processing"
    assert Unresolved.objects.filter(resource_id=bad["id"]).exists()
    assert counters()["succeeded"] == before["succeeded"] + 1
    assert counters() == rows()


def test_all_waiters_learn_of_a_lost_connection_and_later_ones_are_served(writer, merchant, pool):
    first, others = new_row(merchant), [new_row(merchant) for _ in range(8)]
    batch = [first, *others]
    writer.write(Part.CREATED, batch)
    with lease_held(first):
        leader = pool.submit(writer.write, Part.SETTLED, [settled(row) for row in batch[:5]])
        wait_until(blocked, what="the leader waits for the lease")
        waiting = [pool.submit(writer.write, Part.SETTLED, [settled(row)]) for row in batch[5:]]
        wait_until(all_waiting(writer, 4), what="four wait")
        query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", session())
        assert isinstance(leader.exception(10), psycopg.OperationalError)

    assert outcomes(waiting) == [[row["id"]] for row in batch[5:]]
    assert len(writer.write(Part.SETTLED, [settled(row) for row in batch[:5]])) == 5
    assert counters() == rows()


def test_a_leader_that_ends_half_way_leaves_no_waiter_waiting_or_misinformed(writer, merchant, pool, monkeypatch):
    stored = [new_row(merchant) for _ in range(5)]
    run, gate = PaymentWriter._run, threading.Event()

    def exit_once(self: PaymentWriter, *arguments: Any) -> None:
        monkeypatch.setattr(PaymentWriter, "_run", run)
        gate.wait(10)
        raise SystemExit

    monkeypatch.setattr(PaymentWriter, "_run", exit_once)
    leader = pool.submit(exits, writer, stored[0])
    wait_until(lambda: writer._has_leader, what="a request leads")
    waiting = [pool.submit(writer.write, Part.CREATED, [row]) for row in stored[1:]]
    wait_until(all_waiting(writer, 4), what="four wait")
    gate.set()

    assert leader.result(10) == "exited"
    assert outcomes(waiting) == [[row["id"]] for row in stored[1:]]


def exits(writer: PaymentWriter, row: Row) -> str:
    try:
        writer.write(Part.CREATED, [row])
    except SystemExit:
        return "exited"
    return "returned"


# --- Counting ----------------------------------------------------------------------------------------------


def test_nothing_is_counted_before_its_commit(writer, merchant, pool):
    row = new_row(merchant)
    writer.write(Part.CREATED, [row])
    before = counters()
    with lease_held(row):
        settling = pool.submit(writer.write, Part.SETTLED, [settled(row)])
        wait_until(blocked, what="T2 waits for the lease")
        assert counters() == before

    settling.result(10)
    assert counters()["succeeded"] == before["succeeded"] + 1


def test_blocked_payments_are_counted_when_they_are_stored(writer, merchant):
    before = counters()

    writer.write(Part.CREATED, [new_row(merchant, status="blocked"), new_row(merchant)])

    assert counters()["blocked"] == before["blocked"] + 1
    assert counters() == rows()


def test_an_uncounted_commit_is_counted_by_the_next_connection(writer, merchant, monkeypatch):
    first, second = new_row(merchant), new_row(merchant)
    writer.write(Part.CREATED, [first, second])
    monkeypatch.setattr("payments.storage.counters.CounterState.add", lambda self, stored: 1 / 0)
    assert list(writer.write(Part.SETTLED, [settled(first)])) == [first["id"]]
    monkeypatch.undo()

    writer.write(Part.SETTLED, [settled(second)])

    assert counters() == rows()


def test_a_commit_whose_answer_was_lost_is_counted(writer, merchant, monkeypatch):
    row = new_row(merchant)
    writer.write(Part.CREATED, [row])
    before = counters()
    fetchall = psycopg.Cursor.fetchall

    def lose(self: psycopg.Cursor[Any]) -> Any:
        monkeypatch.setattr(psycopg.Cursor, "fetchall", fetchall)
        raise psycopg.OperationalError("the answer was lost")

    monkeypatch.setattr(psycopg.Cursor, "fetchall", lose)
    with pytest.raises(psycopg.OperationalError):
        writer.write(Part.SETTLED, [settled(row)])
    writer.restore_counters()

    assert counters()["succeeded"] == before["succeeded"] + 1
    assert counters() == rows()


def test_a_session_that_the_server_ended_costs_no_payment(writer, merchant):
    query("SELECT pg_terminate_backend(pid, 3000) FROM pg_stat_activity WHERE application_name = %s", session())

    assert len(writer.write(Part.CREATED, [new_row(merchant)])) == 1
    assert counters() == rows()


def test_a_session_that_the_server_ended_does_not_stop_the_loop(writer, merchant, monkeypatch):
    query("SELECT pg_terminate_backend(pid, 3000) FROM pg_stat_activity WHERE application_name = %s", session())
    on_loop: list[bool] = []

    def connect(*arguments: Any, **options: Any) -> psycopg.Connection[Any]:
        on_loop.append(cooperation.on_loop())
        return open_connection(*arguments, **options)

    monkeypatch.setattr(group_commit, "open_connection", connect)
    row = new_row(merchant)

    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:
        run_task(loop, lambda: writer.write(Part.CREATED, [row]))

    assert (on_loop, commits([row["id"]])) == ([False], 1)


@pytest.mark.parametrize("lost", ["the row", "the row, and its id is another process's"])
def test_a_process_whose_own_row_a_failover_lost_gets_a_new_one(writer, merchant, lost):
    """Its payments named a row that no longer existed, so no comparison found them until the process ended."""
    other = Writer.objects.create(slot="web-9", epoch=uuid4())
    writer._writer_id = other.pk if lost != "the row" else other.pk + 1_000_000
    writer.disconnect()
    row = new_row(merchant)

    writer.write(Part.CREATED, [row])
    writer.write(Part.SETTLED, [settled(row)])

    signed = Event.objects.get(transaction_id=row["id"], kind="succeeded").writer
    assert (signed.slot, signed.epoch) == (slots.slot().name, slots.slot().epoch)
    assert counters() == rows()


def test_a_currency_whose_rows_a_failover_lost_has_no_revenue(writer):
    """Its counter kept the revenue of the lost payments."""
    state, summary = CounterState(), metrics.AMOUNT.labels("KWD")
    state.load([("succeeded", "KWD", 1, 3000)])
    assert (summary._count.get(), summary._sum.get()) == (1, 3)

    state.load([])

    assert (summary._count.get(), summary._sum.get()) == (0, 0)
    writer.disconnect()
    writer.restore_counters()


def test_a_sum_never_falls_by_a_hair(writer, merchant):
    """0.1 + 0.2 is more than 0.3: a sum of floats would fall when the counters are set from the rows."""
    seen = []
    for amount in (10, 20, 30, 70, 110):
        row = new_row(merchant, amount=amount, fee_basis_points=0)
        writer.write(Part.CREATED, [row])
        writer.write(Part.SETTLED, [settled(row)])
        seen.append(counters()["EUR"])
        writer.disconnect()
        writer.restore_counters()
        seen.append(counters()["EUR"])

    assert seen == sorted(seen)
    assert counters() == rows()


def test_a_lost_lease_and_a_fresh_one_in_one_statement_settle_once(writer, merchant):
    row = new_row(merchant)
    writer.write(Part.CREATED, [row])

    writer.write(Part.SETTLED, [settled(row, lease_token=uuid4(), status="failed"), settled(row), settled(row)])

    assert Transaction.objects.get(id=row["id"]).status == "succeeded"
    kinds = Event.objects.filter(transaction_id=row["id"]).values_list("kind", flat=True)
    assert list(kinds) == ["processing", "succeeded"]
    assert LedgerLeg.objects.filter(transaction_id=row["id"]).count() == 3
    assert counters() == rows()


@pytest.mark.parametrize("status", ["succeeded", "unknown"])
def test_a_request_that_lost_the_lease_changes_nothing(writer, merchant, status):
    row = new_row(merchant)
    writer.write(Part.CREATED, [row])
    before = counters()
    late = settled(row, lease_token=uuid4(), status=status)

    assert writer.write(Part.SETTLED if status == "succeeded" else Part.UNKNOWN, [late]) == {}
    assert Transaction.objects.get(id=row["id"]).status == "processing"
    assert counters() == before


def test_the_predecessors_session_is_ended_before_its_rows_are_counted(writer, merchant, pool):
    """Its statement may still run after its process died; it must not commit what its successor did not count."""
    row = new_row(merchant)
    writer.write(Part.CREATED, [row])
    with lease_held(row):
        orphan = pool.submit(writer.write, Part.SETTLED, [settled(row)])
        wait_until(blocked, what="the predecessor's T2 waits")
        successor = PaymentWriter()
        successor.restore_counters()
        assert isinstance(orphan.exception(10), psycopg.OperationalError)

    assert Transaction.objects.get(id=row["id"]).status == "processing"
    assert counters() == rows()
    successor.disconnect()


def test_an_event_names_the_writer_whose_counters_hold_it(writer, merchant):
    row = new_row(merchant)
    writer.write(Part.CREATED, [row])
    writer.write(Part.SETTLED, [settled(row)])

    signed = Event.objects.get(transaction_id=row["id"], kind="succeeded").writer
    assert signed is not None
    assert (signed.slot, signed.epoch) == (slots.slot().name, slots.slot().epoch)
