"""The drifts are 0 while payments go on, and exact at rest; the rollup of the journal passes nothing over."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from uuid import UUID, uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fintech.database.connections import open_connection
from fintech.telemetry.host_registry import live_epochs
from fintech.testing.processes import wait_until
from payments.currencies import to_major
from payments.kpis.drift import Drift, measure_drift, unseen_epochs
from payments.kpis.gateway_drift import measure_gateway_drift
from payments.kpis.rollup import Rollup
from payments.kpis.scrape import Counters, ScrapeError
from payments.kpis.totals import Totals
from payments.ledger.running_sums import Sums
from payments.models import Event, KpiWatermark, Writer
from payments.tests.journal import read_all
from payments.tests.shop import Shop
from payments.worker.jobs import LedgerJobs

# --- The gateway's drift -----------------------------------------------------------------------------------

ASKED, MOVED, BOOKED = 1, 2, 3


@dataclass
class Item:
    """A charge or refund of 10: asked for (in flight), moved by the gateway, booked (no longer in flight)."""

    kind: str
    stage: int = 0


@dataclass
class World:
    """Readings of a world that goes on between any two of them."""

    random: Random
    items: list[Item]
    stands_still: bool = False
    extra: int = 0  # money at the gateway that is unknown here
    readings: list[str] = field(default_factory=list)

    def read(self, name: str, wanted: Callable[[Item], bool]) -> Sums:
        amounts: Sums = Counter()
        for item in self.items:
            if wanted(item):
                amounts[item.kind, "EUR"] += 10
        self.readings.append(name)
        for item in self.items:
            while not self.stands_still and item.stage < BOOKED and self.random.random() < 0.3:
                item.stage += 1
        return amounts

    def booked(self) -> Sums:
        return self.read("booked", lambda item: item.stage == BOOKED)

    def in_flight(self) -> Sums:
        return self.read("in flight", lambda item: item.stage in (ASKED, MOVED))

    def totals(self) -> dict[str, dict[str, int]]:
        moved = self.read("totals", lambda item: item.stage >= MOVED)
        return {
            "EUR": {"charged": moved["succeeded", "EUR"] + self.extra, "refunded": moved["refund_succeeded", "EUR"]}
        }

    def drift(self) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("payments.kpis.gateway_drift._booked", self.booked)
            patch.setattr("payments.kpis.gateway_drift._in_flight", self.in_flight)
            return measure_gateway_drift(self)["EUR"]


ITEMS = st.lists(st.builds(Item, st.sampled_from(["succeeded", "refund_succeeded"]), st.integers(0, 3)), max_size=12)


@settings(max_examples=300)
@given(ITEMS, st.integers())
def test_a_world_that_goes_on_has_no_gateway_drift(items, seed):
    assert World(Random(seed), items).drift() == 0


@settings(max_examples=100)
@given(ITEMS, st.integers(-100, 100))
def test_at_rest_the_gateway_drift_is_exact(items, extra):
    for item in items:
        item.stage = BOOKED

    assert World(Random(1), items, stands_still=True, extra=extra).drift() == extra


def test_a_refund_does_not_hide_a_charge_that_is_missing():
    """Charges and refunds apart: 10 more charged and 10 more refunded than booked would cancel each other out."""
    items = [Item("succeeded", BOOKED), Item("refund_succeeded", MOVED)]

    assert World(Random(1), items, stands_still=True, extra=10).drift() == 10


# --- The counters' drift -----------------------------------------------------------------------------------

EPOCH = uuid4()


def counters(**counted: int) -> Counters:
    return Counters({EPOCH: Totals(count=dict(counted))})


@pytest.fixture
def rows(monkeypatch) -> list[int]:
    """How many succeeded payments each reading of the rows finds."""
    readings: list[int] = []

    def read(epochs: object) -> dict[UUID, Totals]:
        return {EPOCH: Totals(count={"succeeded": readings.pop(0)})}

    monkeypatch.setattr("payments.kpis.drift.totals_by_epoch", read)
    monkeypatch.setattr("payments.kpis.drift.slots_by_epoch", lambda epochs: {EPOCH: 1})
    monkeypatch.setattr("payments.kpis.drift.live_sessions", lambda: {EPOCH: frozenset([1])})
    monkeypatch.setattr("payments.kpis.drift.unseen_epochs", lambda seen: 0)
    monkeypatch.setattr("payments.kpis.drift.PAUSE_SECONDS", 0)
    return readings


@pytest.mark.parametrize(
    ("before", "counted", "after", "drift"),
    [(5, 5, 5, 0), (5, 6, 7, 0), (5, 7, 7, 0), (5, 4, 5, 1), (5, 4, 9, 1), (5, 8, 7, -1), (0, 3, 0, -3)],
)
def test_the_drift_excludes_payments_during_the_comparison(rows, before, counted, after, drift):
    rows += [before, after]

    assert measure_drift(lambda: counters(succeeded=counted)).transactions["succeeded"] == drift


def test_counters_that_begin_again_meanwhile_are_not_compared(rows):
    rows += [5, 5]
    answers = iter([Counters({EPOCH: Totals()}), Counters({uuid4(): Totals()})])

    with pytest.raises(ScrapeError, match="began again"):
        measure_drift(lambda: next(answers))


@pytest.mark.parametrize(
    ("connected", "still_connected"),
    [({}, {}), ({}, {EPOCH: {2}}), ({EPOCH: {1}}, {}), ({EPOCH: {1}}, {EPOCH: {2}}), ({EPOCH: {1}}, {EPOCH: {1, 2}})],
    ids=["dead", "started", "killed", "killed and started", "one more started"],
)
def test_counters_of_a_process_that_was_killed_are_not_compared_until_it_has_set_them(
    rows, monkeypatch, connected, still_connected
):
    """A host that was killed between a commit and its count had a drift while it started again."""
    rows += [5, 5]
    sessions = iter([connected, still_connected])
    monkeypatch.setattr("payments.kpis.drift.live_sessions", lambda: next(sessions))

    with pytest.raises(ScrapeError, match="began again"):
        measure_drift(lambda: counters(succeeded=4))


def test_a_drift_that_cannot_be_measured_is_not_exported_as_its_last_value():
    ledger = LedgerJobs()
    ledger.view.drift = Drift({"failed": 0}, {})
    ledger._read_counters = refuse  # type: ignore[method-assign]

    with pytest.raises(ScrapeError):
        ledger.measure_drift()
    assert ledger.view.drift is None


def exported(slots: list[int], currency: str) -> Counters:
    """The counters of slots that were set to these totals in minor units, merged as the exporter does."""
    total = sum(to_major(amount, currency) for amount in slots)
    counters = Counters()
    counters.add(
        f'transaction_amount_sum{{currency="{currency}"}} {total!r}\nmetrics_epoch_info{{epoch="{EPOCH}"}} 1\n'
    )
    return counters


@pytest.fixture
def revenue_drift(monkeypatch) -> Callable[[list[int], int, str], int]:
    def measure(slots: list[int], stored: int, currency: str) -> int:
        monkeypatch.setattr(
            "payments.kpis.drift.totals_by_epoch", lambda epochs: {EPOCH: Totals(amount={currency: stored})}
        )
        monkeypatch.setattr("payments.kpis.drift.slots_by_epoch", lambda epochs: {EPOCH: len(slots)})
        monkeypatch.setattr("payments.kpis.drift.live_sessions", lambda: {EPOCH: frozenset([1])})
        monkeypatch.setattr("payments.kpis.drift.unseen_epochs", lambda seen: 0)
        monkeypatch.setattr("payments.kpis.drift.PAUSE_SECONDS", 0)
        return measure_drift(lambda: exported(slots, currency)).revenue[currency]

    return measure


SLOTS = st.lists(st.integers(0, 10**17), min_size=1, max_size=12)


@pytest.mark.parametrize("currency", ["IDR", "EUR", "JPY", "KWD"])
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(SLOTS)
def test_equal_sums_have_no_drift_however_large(revenue_drift, currency, slots):
    """Beyond 2^53 minor units kpi_drift stayed at -1 although nothing was missing."""
    assert revenue_drift(slots, sum(slots), currency) == 0


@given(st.lists(st.integers(0, 10**14), min_size=1, max_size=5), st.integers(-5, 5))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_a_drift_is_exact_up_to_five_trillion(revenue_drift, slots, drift):
    assert revenue_drift(slots, sum(slots) + drift, "EUR") == drift


def test_a_payment_that_is_missing_in_a_very_large_sum_is_seen(revenue_drift):
    slots = [5 * 10**15, 5 * 10**15, 5 * 10**15 + 1]

    assert revenue_drift(slots, sum(slots) + 1_000, "IDR") in range(980, 1_001)


def test_a_scrape_of_the_same_epoch_is_counted_once():
    text = f'transactions_total{{status="failed"}} 3.0\nmetrics_epoch_info{{epoch="{EPOCH}"}} 1\n'
    counters = Counters()
    counters.add(text)
    counters.add(text)

    assert counters.totals.count["failed"] == 3


def test_a_connected_writer_that_no_scrape_has_is_unseen():
    seen, unseen = uuid4(), uuid4()
    known = [seen, *live_epochs()]  # the writers of earlier tests may still be connected
    with (
        open_connection(f"writer {seen} web-0"),
        open_connection(f"writer {unseen} web-0"),
        open_connection(f"writer {unseen} web-1"),
    ):
        assert unseen_epochs(known) == 1
    wait_until(lambda: unseen_epochs(known) == 0, what="a host that is gone has no counters to compare")


def test_opposite_drifts_of_two_hosts_do_not_cancel_out(monkeypatch):
    first, second = uuid4(), uuid4()
    stored = {first: Totals(count={"succeeded": 7}), second: Totals(count={"succeeded": 5})}
    counted = Counters({first: Totals(count={"succeeded": 5}), second: Totals(count={"succeeded": 7})})
    monkeypatch.setattr("payments.kpis.drift.totals_by_epoch", lambda epochs: stored)
    monkeypatch.setattr("payments.kpis.drift.PAUSE_SECONDS", 0)

    with open_connection(f"writer {first} web-0"), open_connection(f"writer {second} web-0"):
        assert abs(measure_drift(lambda: counted).transactions["succeeded"]) == 2


def test_a_host_that_does_not_answer_does_not_stop_the_comparison_of_others(monkeypatch):
    gone = uuid4()
    monkeypatch.setattr(
        "payments.kpis.drift.totals_by_epoch", lambda epochs: {epoch: Totals() for epoch in (EPOCH, gone)}
    )
    monkeypatch.setattr("payments.kpis.drift.PAUSE_SECONDS", 0)
    answers = iter([Counters({EPOCH: Totals(), gone: Totals()}), counters(succeeded=3)])

    with open_connection(f"writer {EPOCH} web-0"), open_connection(f"writer {gone} web-0"):
        assert measure_drift(lambda: next(answers)).transactions["succeeded"] == -3


def refuse() -> Counters:
    raise ScrapeError("the exporter is gone")


# --- The rollup --------------------------------------------------------------------------------------------


@pytest.fixture
def writer_id() -> int:
    return Writer.objects.create(slot="test", epoch=uuid4()).pk


def an_event(shop: Shop, writer_id: int) -> tuple[UUID, int]:
    """For `ADD`. The payment's own events are another writer's; a further `unknown` is no final payment to anybody."""
    return shop.pay(1901).body.id, writer_id


ADD = "INSERT INTO payments_event (transaction_id, kind, actor, writer_id) VALUES (%s, 'unknown', 'test', %s)"


def counted(writer_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(count), 0) FROM payments_kpi_totals WHERE writer_id = %s", [writer_id])
        return int(cursor.fetchone()[0])


def tail() -> int:
    """Events that are not in the rollup."""
    return Event.objects.filter(pk__gt=KpiWatermark.objects.get().event_id).count()


@pytest.fixture
def rollup() -> Iterator[Rollup]:
    made = Rollup()
    read_all(made)
    yield made
    made.advance()


@pytest.mark.processes
def test_an_event_that_is_committed_late_is_not_passed_over(shop, writer_id, rollup):
    event = an_event(shop, writer_id)
    with open_connection("late") as late, late.transaction():
        late.execute(ADD, event)
        with open_connection("early") as early:
            early.execute(ADD, event)
        for _ in range(3):
            rollup.advance()
        assert counted(writer_id) == 1

    assert counted(writer_id) == 2
    read_all(rollup)
    assert (counted(writer_id), tail()) == (2, 0)


@pytest.mark.processes
def test_an_event_that_was_taken_back_holds_up_nothing(shop, writer_id, rollup):
    event = an_event(shop, writer_id)
    with open_connection("late") as late, late.transaction(force_rollback=True):
        late.execute(ADD, event)
    read_all(rollup)

    assert (counted(writer_id), tail()) == (0, 0)


@pytest.mark.processes
def test_a_long_tail_is_added_in_bounded_batches(shop, writer_id, rollup, monkeypatch):
    monkeypatch.setattr(Rollup, "batch_size", 3)
    event = an_event(shop, writer_id)
    with open_connection("many") as many:
        for _ in range(20):
            many.execute(ADD, event)
    read_all(rollup)

    assert (counted(writer_id), tail()) == (20, 0)


@pytest.mark.processes
def test_two_rollups_at_once_count_nothing_twice(shop, writer_id):
    """A leader that lost its lock may still be at work."""
    event = an_event(shop, writer_id)
    rollups = [Rollup(), Rollup()]
    for _ in range(5):
        with open_connection("many") as many:
            for _ in range(10):
                many.execute(ADD, event)
        for rollup in rollups:
            rollup.advance()
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(advance_and_close, rollups))

    wait_until(lambda: counted(writer_id) == 50, what="each is counted once")


@pytest.mark.processes
def test_settlements_of_a_lost_server_are_not_added_at_the_next(shop, writer_id, rollup):
    with open_connection("many") as many:
        many.execute(ADD, an_event(shop, writer_id))
    rollup._follower.settled, rollup._follower.server = Event.objects.latest("id").pk, "the server that was lost"

    with connection.cursor() as cursor:
        assert not rollup._read_batch(cursor)

    assert (counted(writer_id), tail() > 0) == (1, True)


def advance_and_close(rollup: Rollup) -> None:
    try:
        rollup.advance()
    finally:
        connection.close()
