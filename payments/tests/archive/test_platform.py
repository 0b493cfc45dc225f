"""A running platform whose payments are archived: clients, books, KPIs and the gateway's record notice nothing."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fintech.testing.databases import FAST
from fintech.testing.processes import wait_until
from payments.tests.own_platform import OwnPlatform, own_platform

pytestmark = [pytest.mark.slow, pytest.mark.processes]

WATERMARKS = """
SELECT least((SELECT event_id FROM payments_kpiwatermark), (SELECT event_id FROM payments_webhookwatermark))
    >= (SELECT max(id) FROM payments_event)
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnPlatform]:
    with own_platform(tmp_path, postgres=FAST, workers=1) as running:
        yield running


def archive(own: OwnPlatform, folder: Path) -> str:
    own.settled()
    wait_until(lambda: own.query(WATERMARKS) == [(True,)], timeout=60, what="the worker has read the journal")
    now = datetime.now(UTC).isoformat()
    code, printed = own.manage("archive_payments", "--before", now, "--to", str(folder))
    assert code == 0, printed
    return printed


def events_left(own: OwnPlatform) -> int:
    return own.query("SELECT count(*) FROM payments_event")[0][0]


def drift(own: OwnPlatform) -> dict[str, float]:
    names = ("kpi_drift", "gateway_drift", "ledger_imbalance")
    found = own.platform.scrape(own.platform.worker_port)
    return {name: value for name, value in found.items() if name.startswith(names)}


def is_zero(own: OwnPlatform) -> bool:
    found = drift(own)
    return bool(found) and not any(found.values())


def test_a_platform_goes_on_as_before_after_its_payments_were_archived(own: OwnPlatform, tmp_path: Path):
    key = secrets.token_hex(12)
    first = own.pay(1250, key=key)
    refunded = own.pay(5000)
    assert own.refund(refunded.body["id"], 2000, key=secrets.token_hex(12)).status == 201
    for number in range(20):
        own.pay(1000 + number)
    path = f"/v1/transactions/{first.body['id']}"
    counted = own.counters().totals.count

    assert "Archived 22 payments" in archive(own, tmp_path / "archives")

    assert events_left(own) == 0
    own.check_books()
    wait_until(lambda: is_zero(own), timeout=60, what="no drift")
    assert own.counters().totals.count == counted
    again = own.pay(1250, key=key)
    assert (again.status, again.body) == (200, first.body)
    assert own.platform.request("GET", path, api_key=own.api_key).body == first.body
    journal = own.platform.request("GET", f"{path}/events", api_key=own.api_key).body
    assert journal == {"data": [], "next": None, "archived": True}

    assert own.refund(refunded.body["id"], 500, key=secrets.token_hex(12)).status == 201
    assert own.pay(777).status == 201
    own.kill_worker_and_exporter()
    own.settled()
    own.check_books()
    wait_until(lambda: is_zero(own), timeout=60, what="no drift with a worker that has seen no archived row")
    assert own.counters_equal_rows()
    assert "Archived 2 payments" in archive(own, tmp_path / "archives")
    own.check_books()
    code, printed = own.manage("archive_payments", "--find", refunded.body["id"])
    assert (code, printed.count("is in payments-before-")) == (0, 2)
    assert json.loads(own.manage("audit_ledger", "--json")[1])["findings"] == []
