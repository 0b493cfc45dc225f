"""Rows of writers that have ended are added up: their number is bounded, and no reader of totals sees a difference."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from fintech.database.connections import open_connection
from fintech.database.sql import fetch_all
from fintech.models import MetricsEpoch
from fintech.testing.processes import wait_until
from payments.kpis.rollup import GONE, merge_ended_writers
from payments.kpis.totals import Totals, ledger_totals, retired_totals, totals_by_epoch
from payments.models import KpiRollup, Writer

SLOTS = 3
KINDS = ("succeeded", "declined", "failed", "unknown", "capture_succeeded", "authorized")
BY_SLOT = """
SELECT epoch, slot, kind, currency, sum(count)::bigint, sum(amount)::bigint
FROM payments_kpi_totals JOIN payments_writer ON payments_writer.id = writer_id
WHERE epoch = ANY(%s) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
RETURN = "UPDATE fintech_metricsepoch SET retired_at = NULL WHERE epoch = %s"
WAITS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s)"


class World:
    """Hosts whose processes have been started again and again."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.epochs: list[UUID] = []

    def add_host(self) -> None:
        epoch = uuid4()
        MetricsEpoch.objects.create(epoch=epoch, role="web", holder="", url="", seen_at=timezone.now())
        self.epochs.append(epoch)

    def retire_or_return(self) -> None:
        host = MetricsEpoch.objects.get(epoch=self.random.choice(self.epochs))
        host.retired_at = None if host.retired_at else timezone.now()
        host.save()

    def run_process(self) -> None:
        epoch, slot = self.random.choice(self.epochs), f"web-{self.random.randrange(SLOTS)}"
        writer = Writer.objects.create(epoch=epoch, slot=slot)
        for kind in self.random.sample(KINDS, self.random.randrange(len(KINDS) + 1)):
            count, amount = self.random.randrange(1, 9), self.random.randrange(10**9)
            KpiRollup.objects.create(writer_id=writer.pk, kind=kind, currency="EUR", count=count, amount=amount)

    def live(self) -> list[UUID]:
        live = MetricsEpoch.objects.filter(epoch__in=self.epochs, retired_at=None)
        return sorted(live.values_list("epoch", flat=True))

    def seen(self) -> Any:
        """Return what the readers of the totals see."""
        by_epoch = [without_zeros(totals) for totals in totals_by_epoch(self.live()).values()]
        by_slot = fetch_all(BY_SLOT, [self.live()])
        return without_zeros(ledger_totals()), without_zeros(retired_totals()), by_epoch, by_slot

    def gone(self) -> Any:
        """Return the sums of retired hosts, apart from zeros."""
        ids = Writer.objects.filter(epoch=GONE).values("pk")
        return list(KpiRollup.objects.filter(writer_id__in=ids, count__gt=0).order_by("kind", "currency").values())


def without_zeros(totals: Totals) -> dict[str, Any]:
    """Return the totals without what is 0: the sums of hosts that have returned."""
    found = {name: dict(value) for name, value in vars(totals).items() if name != "unknown"}
    return {name: {label: number for label, number in found[name].items() if number} for name in found} | {
        "unknown": totals.unknown
    }


def writers_of(epoch: UUID) -> int:
    ids = Writer.objects.filter(epoch=epoch).values("pk")
    return KpiRollup.objects.filter(writer_id__in=ids).values("writer_id").distinct().count()


@pytest.mark.django_db
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 10))])
def test_no_reader_sees_that_rows_of_writers_that_have_ended_are_added_up(seed):
    world = World(Random(seed))
    for _ in range(6):
        for _ in range(2):
            world.add_host()
        for _ in range(25):
            world.run_process()
        for _ in range(4):
            world.retire_or_return()
        before = world.seen()

        merge_ended_writers()

        assert world.seen() == before
        assert {writers_of(epoch) for epoch in world.epochs if epoch not in world.live()} <= {0}
        assert {writers_of(epoch) for epoch in world.live()} <= set(range(2 * SLOTS + 1))


@pytest.mark.django_db
def test_hosts_that_return_find_the_totals_of_their_slots_as_they_were():
    world = World(Random(7))
    for _ in range(3):
        world.add_host()
    for _ in range(40):
        world.run_process()
    hosts = MetricsEpoch.objects.filter(epoch__in=world.epochs)
    merge_ended_writers()  # those of other tests, too
    before, retired_before = world.seen(), world.gone()

    for _ in range(2):
        hosts.update(retired_at=timezone.now())
        merge_ended_writers()
        assert {writers_of(epoch) for epoch in world.epochs} == {0}
        hosts.update(retired_at=None)

        assert (world.seen(), world.gone()) == (before, retired_before)


@pytest.fixture
def host() -> Iterator[tuple[UUID, int]]:
    """A retired host, and its writer with one declined payment."""
    epoch, gone = uuid4(), timezone.now()
    MetricsEpoch.objects.create(epoch=epoch, role="web", holder="", url="", seen_at=gone, retired_at=gone)
    writer = Writer.objects.create(epoch=epoch, slot="web-0")
    KpiRollup.objects.create(writer_id=writer.pk, kind="declined", currency="EUR", count=1, amount=0)
    yield epoch, writer.pk
    MetricsEpoch.objects.filter(epoch=epoch, retired_at__isnull=False).update(retired_at=None)
    KpiRollup.objects.filter(writer_id=writer.pk).delete()  # no payment belongs to it


def waits(statement: str) -> bool:
    """Return True if such a statement waits for a lock. A transaction would see the same activity again and again."""
    with open_connection("looks") as looking:
        return looking.execute(WAITS, [statement]).fetchone() == (True,)


def merge_and_close() -> None:
    try:
        merge_ended_writers()
    finally:
        connection.close()


def test_a_host_that_returns_at_this_moment_keeps_its_rows(host):
    epoch, writer_id = host
    with ThreadPoolExecutor(1) as threads:
        with open_connection("returns") as returning, returning.transaction():
            returning.execute(RETURN, [epoch])
            merging = threads.submit(merge_and_close)
            wait_until(lambda: waits("%WITH host AS%"), what="the merge waits for the host")
        merging.result(10)

    assert KpiRollup.objects.filter(writer_id=writer_id).count() == 1


def test_a_host_that_returns_while_its_rows_are_moved_takes_them_back(host):
    epoch, writer_id = host

    def return_now() -> None:
        with open_connection("returns") as returning:
            returning.execute(RETURN, [epoch])

    with ThreadPoolExecutor(1) as threads:
        with atomic():
            merge_ended_writers()
            assert not KpiRollup.objects.filter(writer_id=writer_id).exists()
            returning = threads.submit(return_now)
            wait_until(lambda: waits(f"{RETURN[:30]}%"), what="the host waits for the merge")
        returning.result(10)

    assert KpiRollup.objects.filter(writer_id=writer_id).count() == 1
