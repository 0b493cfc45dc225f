"""Real faults raise alerts, which reach the trail and the admin.

Gateway, gunicorn, Prometheus, Alertmanager and PostgreSQL are real.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from math import isnan
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from fintech.testing.processes import wait_until
from loadtests.drill.lab import (
    Drill,
    alerts_in,
    post_without_token,
    running_drill,
)
from loadtests.drill.monitoring import ask, is_installed
from observability.dashboards.documented import PROMQL

pytestmark = [
    pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed"),
    pytest.mark.processes,
    pytest.mark.in_order,  # slow burns remember the failures of the other steps
]

NAME = "PaymentErrorRatioHigh"
FAILED = 19_11  # minor units; the gateway simulator fails amounts that end in 911


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """Run one platform for all tests here, in their order. A test that breaks something repairs it."""
    with running_drill(tmp_path_factory.mktemp("drill")) as drill:
        drill.wait_until_calm()
        yield drill


class Delivery(NamedTuple):
    id: int
    sha256: str
    alerts: dict[str, str]  # name -> status


def deliveries(drill: Drill) -> list[Delivery]:
    """Return all deliveries, oldest first."""
    rows = drill.own.query("SELECT id, encode(sha256, 'hex'), body FROM alerts_audit_delivery ORDER BY id")
    return [
        Delivery(pk, digest, {alert["labels"]["alertname"]: alert["status"] for alert in alerts_in(bytes(body))})
        for pk, digest, body in rows
    ]


def the_first(drill: Drill, status: str) -> Delivery | None:
    return next((each for each in deliveries(drill) if each.alerts.get(NAME) == status), None)


def test_an_alert_goes_from_failed_payments_to_the_admin_and_resolves(drill):
    began = time.time()
    drill.traffic.changes["amount"] = FAILED
    firing = wait_until(lambda: the_first(drill, "firing"), 30, "the alert is stored", interval=0.3)
    assert_documented_queries_have_values(drill.monitoring.prometheus)

    drill.traffic.changes.clear()
    resolved = wait_until(lambda: the_first(drill, "resolved"), 60, "the alert is resolved", interval=0.3)

    assert firing.id < resolved.id
    assert drill.fired(since=began) == {NAME}
    assert_admin_shows(drill, firing, resolved)
    assert_each_delivery_is_logged_once(drill)


def test_an_unknown_client_at_the_webhook_raises_its_alert_and_no_other(drill):
    began = time.time()
    post_without_token(drill)

    wait_until(lambda: drill.fired(since=began), 20, "an alert arrives", interval=0.3)
    assert drill.fired(since=began) == {"WebhookUnauthorized"}


def test_a_worker_that_is_killed_is_noticed_and_its_symptoms_are_not(drill):
    assert drill.own.platform.worker is not None
    began = time.time()
    drill.own.platform.worker.kill()

    wait_until(lambda: drill.fired(since=began), 20, "an alert arrives", interval=0.3)
    assert drill.fired(since=began) == {"TargetDown"}
    drill.own.platform.start()


def assert_documented_queries_have_values(prometheus: int) -> None:
    for expression in PROMQL:
        values = [float(sample["value"][1]) for sample in ask(prometheus, "query", query=expression)["result"]]
        assert any(value > 0 for value in values), expression
        assert not any(map(isnan, values)), f"{expression} is not a number"


def logged_in(drill: Drill, password: str) -> Callable[[str], str]:
    """A client that reads the admin as the administrator created at the first start."""
    opener, address = build_opener(HTTPCookieProcessor(CookieJar())), f"{drill.own.platform.url}/admin/"

    def fetch(path: str, form: dict[str, str] | None = None) -> str:
        content = urlencode(form).encode() if form else None
        with opener.open(address + path, content, timeout=20) as response:
            return response.read().decode()

    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', fetch("login/"))[:1]
    fetch("login/", {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"})
    return fetch


def assert_admin_shows(drill: Drill, *stored: Delivery) -> None:
    fetch = logged_in(drill, (drill.own.platform.directory / "admin_password").read_text().strip())
    assert NAME in fetch("alerts_audit/delivery/")
    for delivery in stored:
        page = fetch(f"alerts_audit/delivery/{delivery.id}/change/")
        assert delivery.sha256 in page
        assert "More than 5 % of payments fail." in page


def assert_each_delivery_is_logged_once(drill: Drill) -> None:
    stored = [delivery.id for delivery in deliveries(drill)]

    def logged() -> list[int]:
        written = drill.own.platform.web.output().splitlines()
        lines = [json.loads(line) for line in written if '"alert_received"' in line]
        return sorted(line["delivery_id"] for line in lines if line["kind"] == "delivery")

    # The line is written after the answer, and another delivery may have arrived in between.
    wait_until(lambda: logged()[: len(stored)] == stored, what="each delivery is logged once")
