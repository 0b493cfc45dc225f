"""One alert from a real fault to the admin: gateway, gunicorn, Prometheus, Alertmanager and PostgreSQL are real."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from alerts_audit import payload
from alerts_audit.models import Delivery
from fintech.testing import Platform, answers, free_port, request, running, wait_until
from loadtests.tests.simulator import running_gateway
from observability.dashboards.documented import PROMQL
from observability.render import alertmanager_command, prometheus_command, render
from payments.keys import create_api_key
from payments.models import ApiKey, Merchant

pytestmark = pytest.mark.skipif(
    not (prometheus_command("", "", "") and alertmanager_command("", "", "")),
    reason="Prometheus and Alertmanager are not both installed",
)

# Two minutes become four seconds, and `[5m]` becomes ten.
SPEED = 30
APPROVED, FAILED = 10_00, 19_11  # minor units; the gateway simulator fails whatever ends in 911


class Traffic:
    """About 20 payments a second; every second one fails while `failing` is set."""

    def __init__(self, platform: Platform, api_key: str) -> None:
        self.failing = threading.Event()
        self._platform, self._api_key = platform, api_key
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stopped.wait(0.05):
            number += 1
            amount = FAILED if self.failing.is_set() and number % 2 else APPROVED
            body = {"amount": amount, "currency": "EUR"}
            self._platform.request("POST", "/v1/transactions", body, api_key=self._api_key, key=secrets.token_hex(8))

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


@contextmanager
def monitoring(directory: Path, platform: Platform) -> Iterator[int]:
    """Alertmanager and Prometheus around a platform; Prometheus's port."""
    alertmanager, prometheus = free_port(), free_port()
    (directory / "alert_token").write_text(settings.ALERT_TOKEN)
    render(
        directory / "monitoring",
        web_target=f"127.0.0.1:{platform.metrics_port}",
        worker_target=f"127.0.0.1:{platform.worker_port}",
        alertmanager_target=f"127.0.0.1:{alertmanager}",
        webhook_url=f"{platform.url}/alert",
        token_file=directory / "alert_token",
        interval_seconds=1,
        speed=SPEED,
    )
    folder = directory / "monitoring"
    first = alertmanager_command(folder, directory / "alertmanager", f"127.0.0.1:{alertmanager}")
    second = prometheus_command(folder, directory / "prometheus", f"127.0.0.1:{prometheus}", speed=SPEED)
    assert first
    assert second
    with (
        running(first, log=directory / "alertmanager.log", ready=partial(answers, alertmanager, "/-/ready")),
        running(second, log=directory / "prometheus.log", ready=partial(answers, prometheus, "/-/ready")),
    ):
        yield prometheus


def query(prometheus: int, expression: str) -> list[dict[str, Any]]:
    reply = request(prometheus, "GET", f"/api/v1/query?{urlencode({'query': expression})}")
    assert reply.status == 200, reply.body
    return reply.body["data"]["result"]


def received(*, after: int, name: str, status: str) -> list[Delivery]:
    """Deliveries of this alert in this state, oldest first."""
    found = []
    for delivery in Delivery.objects.filter(pk__gt=after).order_by("pk"):
        content = payload.read(bytes(delivery.body))
        assert content is not None
        if content.status == status and name in content.alert_names():
            found.append(delivery)
    return found


def make_api_key() -> str:
    merchant = Merchant.objects.create(name=secrets.token_hex(8), country="DE")
    return create_api_key(merchant=merchant, name="alert trail", scopes=ApiKey.Scope.values)[1]


def newest_delivery() -> int:
    delivery = Delivery.objects.order_by("-pk").first()
    return delivery.pk if delivery else 0


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    env = {"AUDIT_SEAL_SECONDS": str(60 / SPEED), "AUDIT_VERIFY_SECONDS": str(3600 / SPEED)}
    with running_gateway(tmp_path) as gateway, Platform(tmp_path, gateway=gateway, workers=2, env=env) as platform:
        yield platform


def test_an_alert_goes_from_failed_payments_to_the_admin_and_resolves(tmp_path, platform):
    name, before = "PaymentErrorRatioHigh", newest_delivery()
    with monitoring(tmp_path, platform) as prometheus, Traffic(platform, make_api_key()) as traffic:
        traffic.failing.set()
        [firing, *_] = wait_until(
            partial(received, after=before, name=name, status="firing"), 30, "the alert is stored"
        )
        assert_documented_queries_have_values(prometheus)

        traffic.failing.clear()
        [resolved, *_] = wait_until(
            partial(received, after=firing.pk, name=name, status="resolved"), 40, "the alert is resolved"
        )

    assert_only_these_fired({name, "Watchdog"}, after=before)
    assert_admin_shows(firing, resolved)
    assert_each_delivery_is_logged_once(platform, after=before)


def assert_documented_queries_have_values(prometheus: int) -> None:
    for expression in PROMQL:
        values = [float(sample["value"][1]) for sample in query(prometheus, expression)]
        assert any(value > 0 for value in values), expression
        assert not any(map(isnan, values)), f"{expression} is not a number"


def assert_only_these_fired(names: set[str], *, after: int) -> None:
    seen: set[str] = set()
    for delivery in Delivery.objects.filter(pk__gt=after):
        content = payload.read(bytes(delivery.body))
        seen.update(content.alert_names() if content else ["unreadable"])
    assert seen == names


def assert_admin_shows(*deliveries: Delivery) -> None:
    client = Client()
    client.force_login(User.objects.create(username=secrets.token_hex(8), is_staff=True, is_superuser=True))
    page = client.get("/admin/alerts_audit/delivery/").text
    assert "PaymentErrorRatioHigh" in page
    for delivery in deliveries:
        page = client.get(f"/admin/alerts_audit/delivery/{delivery.pk}/change/").text
        assert bytes(delivery.sha256).hex() in page
        assert "More than 5 % of payments fail." in page


def assert_each_delivery_is_logged_once(platform: Platform, *, after: int) -> None:
    stored = list(Delivery.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True))
    lines = [json.loads(line) for line in platform.web.output().splitlines() if '"alert_received"' in line]
    assert sorted(line["delivery_id"] for line in lines if line["kind"] == "delivery") == stored
