"""At once, in the web's processes: against the session's database, as the thread knows no other."""

import asyncio
import secrets
import threading
import time
from typing import Any

import pytest

from alerts_audit.models import Delivery, Envelope
from alerts_audit.projection import projector
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.tests.seal.trails import on_database
from alerts_audit.webhook import background
from alerts_audit.webhook.background import BackgroundThread
from alerts_audit.webhook.services import record_delivery
from fintech.database.connections import open_connection
from fintech.server import cooperation
from fintech.testing.processes import is_over, wait_until


@pytest.fixture(autouse=True)
def _database_is_open(django_db_blocker):
    with django_db_blocker.unblock():
        yield


def deliver() -> Delivery:
    return record_delivery(source="alertmanager", body=alertmanager_body(f"Prompt-{secrets.token_hex(6)}"))


def is_projected(delivery: Delivery) -> bool:
    return Envelope.objects.filter(pk=delivery.pk).exists()


def test_a_delivery_is_projected_soon_after_it_was_scheduled():
    delivery = deliver()

    BackgroundThread().schedule(delivery)

    wait_until(lambda: is_projected(delivery), what="it is projected")


def test_a_process_has_one_thread_for_it():
    thread, delivery = BackgroundThread(), deliver()
    before = threading.active_count()
    for _ in range(20):
        thread.schedule(delivery)

    assert threading.active_count() == before + 1


def test_a_delivery_locked_by_another_process_is_left_to_the_worker():
    thread = BackgroundThread()
    with open_connection("other") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [projector.LOCK])
        delivery = deliver()
        thread.work()
        assert not is_projected(delivery)

    def is_projected_now() -> bool:
        thread.work()
        return is_projected(delivery)

    wait_until(is_projected_now, what="it is projected")


def test_an_unavailable_database_is_no_error_of_the_web(tmp_path, monkeypatch):
    logged: list[tuple[int, str]] = []
    monkeypatch.setattr(background.logger, "warning", lambda event, **_: logged.append((threading.get_ident(), event)))
    nowhere = {f"DATABASE{name}_URL": f"postgresql://app@/fintech?host={tmp_path}" for name in ("", "_OWNER")}
    projector.disconnect()
    with on_database(nowhere, tmp_path):
        BackgroundThread().work()

    # The application's own thread may still log what another test sent.
    assert [event for thread, event in logged if thread == threading.get_ident()] == ["projection_postponed"]


@pytest.fixture
def projecting(monkeypatch) -> threading.Event:
    """Set once a thread projects, which never ends."""
    began = threading.Event()

    def project(_: Any) -> None:
        began.set()
        threading.Event().wait()

    monkeypatch.setattr(background, "project_pending", project)
    monkeypatch.setattr(cooperation._Loop, "endings", [])
    return began


def test_a_process_that_stops_logs_the_deliveries_that_wait(projecting, monkeypatch):
    logged: list[int] = []
    monkeypatch.setattr(background, "log_delivery", lambda delivery: logged.append(delivery.pk))
    thread = BackgroundThread()
    thread.schedule(Delivery(pk=0))
    assert projecting.wait(60)
    for number in range(1, 6):
        thread.schedule(Delivery(pk=number))
    assert logged == [0]

    asyncio.run(cooperation.end())

    assert logged == [0, 1, 2, 3, 4, 5]


def test_a_line_that_takes_for_ever_does_not_hold_the_stop(projecting, monkeypatch):
    thread = BackgroundThread()
    thread.schedule(Delivery(pk=0))
    assert projecting.wait(60)
    monkeypatch.setattr(background, "log_delivery", lambda _: threading.Event().wait())
    monkeypatch.setattr(background, "LAST_LINES_SECONDS", 0.1)
    thread.schedule(Delivery(pk=1))
    start = time.monotonic()

    asyncio.run(cooperation.end())

    assert not is_over(start, 5)
