"""One alert from a real fault to the admin: gateway, gunicorn, Prometheus, Alertmanager and PostgreSQL are real."""

import json
import re
import time
from collections.abc import Callable
from http.cookiejar import CookieJar
from math import isnan
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from fintech.testing import wait_until
from observability.dashboards.documented import PROMQL
from observability.render import alertmanager_command, prometheus_command
from observability.tests.drill import Drill, alerts_in, running_drill
from observability.tests.lab import ask

pytestmark = pytest.mark.skipif(
    not (prometheus_command("", "", "") and alertmanager_command("", "", "")),
    reason="Prometheus and Alertmanager are not both installed",
)

NAME = "PaymentErrorRatioHigh"
FAILED = 19_11  # minor units; the gateway simulator fails whatever ends in 911


class Delivery(NamedTuple):
    id: int
    sha256: str
    alerts: dict[str, str]  # name -> status


def deliveries(drill: Drill) -> list[Delivery]:
    """All of them, oldest first."""
    rows = drill.own.query("SELECT id, encode(sha256, 'hex'), body FROM alerts_audit_delivery ORDER BY id")
    return [
        Delivery(pk, digest, {alert["labels"]["alertname"]: alert["status"] for alert in alerts_in(bytes(body))})
        for pk, digest, body in rows
    ]


def the_first(drill: Drill, status: str) -> Delivery | None:
    return next((each for each in deliveries(drill) if each.alerts.get(NAME) == status), None)


def test_an_alert_goes_from_failed_payments_to_the_admin_and_resolves(tmp_path):
    with running_drill(tmp_path) as drill:
        drill.wait_until_calm()
        began = time.time()
        drill.traffic.changes["amount"] = FAILED
        firing = wait_until(lambda: the_first(drill, "firing"), 30, "the alert is stored")
        assert_documented_queries_have_values(drill.prometheus)

        drill.traffic.changes.clear()
        resolved = wait_until(lambda: the_first(drill, "resolved"), 60, "the alert is resolved")

        assert firing.id < resolved.id
        assert drill.fired(since=began) == {NAME}
        assert_admin_shows(drill, tmp_path, firing, resolved)
        assert_each_delivery_is_logged_once(drill)


def assert_documented_queries_have_values(prometheus: int) -> None:
    for expression in PROMQL:
        values = [float(sample["value"][1]) for sample in ask(prometheus, "query", query=expression)["result"]]
        assert any(value > 0 for value in values), expression
        assert not any(map(isnan, values)), f"{expression} is not a number"


def logged_in(drill: Drill, password: str) -> Callable[[str], str]:
    """Fetches pages of the admin as the administrator does who was made at the first start."""
    opener, address = build_opener(HTTPCookieProcessor(CookieJar())), f"{drill.own.platform.url}/admin/"

    def fetch(path: str, form: dict[str, str] | None = None) -> str:
        content = urlencode(form).encode() if form else None
        with opener.open(address + path, content, timeout=20) as response:
            return response.read().decode()

    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', fetch("login/"))[:1]
    fetch("login/", {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"})
    return fetch


def assert_admin_shows(drill: Drill, directory: Path, *stored: Delivery) -> None:
    fetch = logged_in(drill, (directory / "admin_password").read_text().strip())
    assert NAME in fetch("alerts_audit/delivery/")
    for delivery in stored:
        page = fetch(f"alerts_audit/delivery/{delivery.id}/change/")
        assert delivery.sha256 in page
        assert "More than 5 % of payments fail." in page


def assert_each_delivery_is_logged_once(drill: Drill) -> None:
    stored = [delivery.id for delivery in deliveries(drill)]
    lines = [json.loads(line) for line in drill.own.platform.web.output().splitlines() if '"alert_received"' in line]
    logged = sorted(line["delivery_id"] for line in lines if line["kind"] == "delivery")
    assert logged[: len(stored)] == stored  # one more may have come in between
