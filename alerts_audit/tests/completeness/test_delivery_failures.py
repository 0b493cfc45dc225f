"""Failures that are only counted elsewhere: a rise opens a gap, a constant counter closes it."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event
from uuid import uuid4

import pytest
from django.conf import settings

from alerts_audit.completeness import delivery_failures, side_by_side
from alerts_audit.completeness.alertmanager import Alertmanager
from alerts_audit.completeness.delivery_failures import (
    FailedNotifications,
    count_refused,
    note_failed,
    refused_by_host,
    rises,
)
from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.observe import Watched
from alerts_audit.models import Gap, Observation, Source
from alerts_audit.tests.completeness.servers import FakeServer, fake_server
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery
from fintech.telemetry.host_registry import Exporter
from fintech.testing.processes import wait_until


@pytest.fixture
def watched() -> Watched:
    name = f"count-{secrets.token_hex(4)}"
    return Watched(name, name, Alertmanager("http://127.0.0.1:1"), "")


@pytest.fixture
def quiet_at_once(monkeypatch) -> None:
    monkeypatch.setattr(settings, "ALERT_QUIET_SECONDS", 0)


def gaps_of(watched: Watched) -> list[Gap]:
    return list(Gap.objects.filter(subject=watched.name).order_by("pk"))


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 3}, {"a": 2}),
        ({"a": 5}, {"a": 2}, {"a": 2}),  # it began again
        ({"a": 5}, {"a": 0}, {}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {}),
    ],
)
def test_a_rise_is_seen_through_a_reset(before, now, expected):
    assert rises(before, now) == expected


def test_failures_before_the_first_poll_are_not_reported(watched):
    note_failed(watched, {"webhook": 7})

    assert gaps_of(watched) == []


def test_a_rise_opens_one_gap_with_its_counts(watched):
    note_failed(watched, {"webhook": 0})
    note_failed(watched, {"webhook": 2})
    note_failed(watched, {"webhook": 5})

    [gap] = gaps_of(watched)
    assert (gap.reason, gap.source, gap.details["failed"]) == ("notifications", watched.name, {"webhook": 2})
    assert gap.observation_id is not None
    observation = Observation.objects.get(pk=gap.observation_id)
    assert b'"failed":{"webhook":2}' in bytes(observation.body)


def test_it_stays_open_as_long_as_nothing_is_delivered_again(watched, quiet_at_once):
    note_failed(watched, {"webhook": 0})
    note_failed(watched, {"webhook": 1})
    note_failed(watched, {"webhook": 1})

    assert len(gaps_of(watched)) == 1


def test_it_stays_open_until_it_was_quiet_for_long_enough(watched):
    note_failed(watched, {"webhook": 0})
    note_failed(watched, {"webhook": 1})
    record_delivery(source=watched.name, body=alertmanager_body("A"))
    note_failed(watched, {"webhook": 1})

    assert len(gaps_of(watched)) == 1


def test_it_closes_when_deliveries_arrive_again(watched, quiet_at_once):
    note_failed(watched, {"webhook": 0})
    note_failed(watched, {"webhook": 1})
    record_delivery(source=watched.name, body=alertmanager_body("A"))
    note_failed(watched, {"webhook": 1})

    gap, closing = gaps_of(watched)
    assert closing.closes == gap
    assert closing.details == {"failed": {"webhook": 1}}


def test_a_delivery_that_came_before_we_noticed_the_failure_counts(watched, quiet_at_once):
    note_failed(watched, {"webhook": 0})
    record_delivery(source=watched.name, body=alertmanager_body("A"))
    note_failed(watched, {"webhook": 1})  # it had failed, and was tried again, since we last asked
    note_failed(watched, {"webhook": 1})

    assert len(gaps_of(watched)) == 2


def test_numbers_that_stay_the_same_add_no_row(watched):
    for _ in range(5):
        note_failed(watched, {"webhook": 0})

    assert Observation.objects.filter(source=watched.name).count() == 1


def test_a_source_that_does_not_answer_hides_no_other():
    name = f"count-{secrets.token_hex(4)}"
    metrics = b'alertmanager_notifications_failed_total{integration="webhook"} 1\n'
    with fake_server(lambda path: (200, metrics)) as server:
        down = Source.objects.create(name=f"{name}-a", alertmanager_url="http://127.0.0.1:1")
        there = Source.objects.create(name=f"{name}-b", alertmanager_url=server.url)
        with pytest.raises(PollError, match=f"{down.name}: .* does not answer"):
            FailedNotifications().turn()
    Source.objects.filter(name__startswith=name).update(is_active=False)

    assert Observation.objects.get(source=there.name, kind="notifications")


def test_a_source_that_hangs_delays_no_count_of_the_others(monkeypatch):
    monkeypatch.setattr(side_by_side, "PATIENCE_SECONDS", 0.5)
    name, go, job = f"count-{secrets.token_hex(4)}", Event(), FailedNotifications()
    metrics = b'alertmanager_notifications_failed_total{integration="webhook"} 1\n'

    def hang(path: str) -> tuple[int, bytes]:
        assert go.wait(30)
        return 200, metrics

    with fake_server(hang) as hanging, fake_server(lambda path: (200, metrics)) as server:
        Source.objects.create(name=f"{name}-a", alertmanager_url=hanging.url)
        Source.objects.create(name=f"{name}-b", alertmanager_url=server.url)

        def counted(times: int) -> bool:
            job.turn()
            return len(server.asked) >= times

        try:
            wait_until(lambda: counted(2), 8, "two counts of the other source")
            assert len(hanging.asked) == 1
        finally:
            go.set()
            Source.objects.filter(name__startswith=name).update(is_active=False)


# --- Our door ------------------------------------------------------------------------------------------------


@pytest.fixture
def door(monkeypatch) -> Iterator[FakeServer]:
    """The web's metrics, without any refusal and without an open gap. Hosts of other tests are unknown."""
    monkeypatch.setattr(settings, "ALERT_QUIET_SECONDS", 0)
    monkeypatch.setattr(delivery_failures, "exporters", lambda role: [])
    with fake_server(lambda path: (200, refused(0))) as server:
        monkeypatch.setattr(settings, "WEB_METRICS_URL", f"{server.url}/metrics")
        count_refused()
        count_refused()
        assert door_gap() is None
        yield server
        server.answer = lambda path: (200, refused(0))
        count_refused()
        count_refused()


def refused(number: int) -> bytes:
    lines = [
        "# TYPE alert_deliveries_total counter",
        'alert_deliveries_total{source="alertmanager",outcome="stored"} 99',
        f'alert_deliveries_total{{source="",outcome="unauthorized"}} {number}',
    ]
    return "\n".join(lines).encode() + b"\n"


def door_gap() -> Gap | None:
    return Gap.objects.open().filter(reason="unauthorized").first()


def test_a_caller_refused_at_our_door_opens_a_gap(door):
    door.answer = lambda path: (200, refused(3))
    count_refused()

    gap = door_gap()
    assert gap
    assert gap.subject == "POST /alert"
    assert str(gap.details) == "{'refused': 3}"  # a whole number
    assert datetime.now(UTC) - gap.since < timedelta(minutes=1)


def test_it_closes_after_a_quiet_time(door, monkeypatch):
    door.answer = lambda path: (200, refused(3))
    count_refused()
    monkeypatch.setattr(settings, "ALERT_QUIET_SECONDS", 60)
    count_refused()
    gap = door_gap()
    assert gap

    monkeypatch.setattr(settings, "ALERT_QUIET_SECONDS", 0)
    count_refused()

    assert door_gap() is None
    assert Gap.objects.get(closes=gap).details == {"refused": 3}


def test_metrics_that_cannot_be_read_say_nothing(door):
    door.answer = lambda path: (503, b"")
    with pytest.raises(PollError):
        count_refused()

    assert door_gap() is None


def test_web_hosts_are_asked_beside_each_other(monkeypatch):
    """Each host that hangs takes ten seconds, and the others waited for it."""
    together = Barrier(3, timeout=8)

    def answer(path: str) -> tuple[int, bytes]:
        together.wait()
        return 200, refused(2)

    with fake_server(answer) as server:
        hosts = [Exporter(uuid4(), server.url) for _ in range(3)]
        monkeypatch.setattr(delivery_failures, "exporters", lambda role: hosts)
        monkeypatch.setattr(delivery_failures, "live_epochs", lambda: {host.epoch for host in hosts})

        assert refused_by_host() == {str(host.epoch): 2 for host in hosts}


def test_only_the_newest_deliveries_are_looked_at(watched, monkeypatch):
    monkeypatch.setattr(delivery_failures, "RECENT", 1)
    begin = datetime.now(UTC) - timedelta(minutes=1)
    record_delivery(source=watched.name, body=b"{}")
    assert delivery_failures.delivers_again(watched, begin)

    record_delivery(source="alertmanager", body=b"{}")

    assert not delivery_failures.delivers_again(watched, begin)
