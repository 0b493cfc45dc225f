"""A responder at work in the admin, in a real browser on the real platform, under the real Content-Security-Policy."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings

from alerts_audit.models import Checkpoint, Episode, Leaf, Review
from alerts_audit.tests.reviews.history import make_history
from fintech.testing.browser import SCREENSHOTS, Browser, needs_chromium
from fintech.testing.processes import Platform, wait_until

pytestmark = [needs_chromium, pytest.mark.processes]

LIST = "/admin/alerts_audit/episode/"
ALERTS = [
    ("PaymentErrorRatioHigh", "critical", 75, 21, "More than 5 % of payments fail for a technical reason."),
    ("GatewayLatencyHigh", "warning", 71, 33, "The gateway takes more than a second for 5 % of the charges."),
    ("TargetDown", "critical", 52, 4, "Prometheus cannot scrape web-2:9464."),
    ("DiskFillsUp", "warning", 44, None, "The disk of db-1 is full in four hours if it goes on like this."),
    ("KpiDrift", "critical", 30, 2, "A business counter differs from the committed rows."),
    ("GatewayLatencyHigh", "warning", 20, 6, "The gateway takes more than a second for 5 % of the charges."),
    (
        "PaymentErrorBudgetBurn",
        "critical",
        9,
        None,
        "Payments fail fast enough to spend a month's error budget in two days.",
    ),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    env = {"GRAFANA_URL": "http://127.0.0.1:3000", "AUDIT_SEAL_SECONDS": "1"}
    with Platform(tmp_path_factory.mktemp("platform"), workers=1, env=env) as platform:
        yield platform


def alert(name: str, severity: str, summary: str, *, start: datetime, end: datetime | None, instance: str) -> dict:
    return {
        "status": "resolved" if end else "firing",
        "labels": {"alertname": name, "severity": severity, "instance": instance, "job": "web", "team": "payments"},
        "annotations": {
            "summary": summary,
            "description": f"{summary} The dashboard shows since when.",
            "runbook_url": f"observability/runbooks/{name}.md",
            "dashboard_url": "http://127.0.0.1:3000/d/payments",
        },
        "startsAt": start.isoformat(),
        "endsAt": end.isoformat() if end else "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1:9090/graph?g0.expr=kpi%3Atransaction_failures%3Aratio_rate5m+%3E+0.05",
        "fingerprint": "c6a3f6d1e4b5a2f0",
    }


def deliver(platform: Platform, alerts: list[dict]) -> None:
    document = {
        "version": "4",
        "groupKey": '{}:{alertname="x"}',
        "truncatedAlerts": 0,
        "status": alerts[0]["status"],
        "receiver": "audit",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": alerts,
    }
    body, token = json.dumps(document).encode(), f"Bearer {settings.ALERT_TOKEN}"
    assert platform.request("POST", "/alert", body, headers={"Authorization": token}).status == 200


@pytest.fixture
def episodes(platform: Platform) -> list[Episode]:
    """Make episodes, oldest first: an hour and a half of Alertmanager's reports."""
    shop, now = secrets.token_hex(3), datetime.now(UTC).replace(microsecond=0)
    for number, (name, severity, began, lasted, summary) in enumerate(ALERTS):
        start = now - timedelta(minutes=began)
        end = start + timedelta(minutes=lasted) if lasted else None
        for ended in (None, end) if end else (None,):
            instance = f"web-{number}-{shop}:9464"
            deliver(platform, [alert(name, severity, summary, start=start, end=ended, instance=instance)])

    def found() -> list[Episode]:
        rows = Episode.objects.filter(identity__labels__instance__endswith=f"-{shop}:9464").order_by("id")
        return list(rows) if rows.exclude(state="firing").count() == 5 and len(rows) == len(ALERTS) else []

    wait_until(found, what="all of it is projected")
    return found()


def test_a_responders_morning(browser: Browser, platform: Platform, episodes: list[Episode]):
    wait_until(lambda: is_sealed(episodes[0]), what="the first alert is sealed")
    if SCREENSHOTS:
        make_history()
    browser.sign_in("maria")

    acknowledge_from_the_list(browser, episodes)
    review_one(browser, episodes[0])
    look_around(browser)

    assert browser.complaints == []


def is_sealed(episode: Episode) -> bool:
    leaf = Leaf.objects.filter(kind="input", ref=episode.last_input).first()
    return leaf is not None and Checkpoint.objects.filter(size__gt=leaf.number).exists()


def acknowledge_from_the_list(browser: Browser, episodes: list[Episode]) -> None:
    page, chosen = browser.page, episodes[1:3]
    browser.open(LIST)
    for episode in chosen:
        page.check(f"input[name=_selected_action][value='{episode.pk}']")
    page.select_option("select[name=action]", "acknowledge_chosen", force=True)
    browser.follow("button[name=index]")
    assert "You acknowledged 2 alerts." in page.content()
    keys = [episode.key for episode in chosen]
    assert Review.objects.filter(episode_key__in=keys, kind="acknowledge").count() == 2


def review_one(browser: Browser, episode: Episode) -> None:
    page = browser.page
    browser.open(f"{LIST}{episode.pk}/change/")
    browser.follow("#review button[value=acknowledge]")
    page.fill("textarea[name=text]", "The gateway's certificate had expired; they are renewing it.")
    browser.follow("#review button[value=comment]")
    page.fill("textarea[name=text]", "javascript:alert(1)")
    browser.follow("#review button[value=incident]")
    assert "begins with http" in page.content()
    page.fill("textarea[name=text]", "https://incidents.example/INC-2042")
    browser.follow("#review button[value=incident]")
    assert page.get_attribute("#timeline a[href^='https://incidents']", "rel") == "noreferrer noopener"
    wait_until(lambda: Review.objects.filter(episode_key=episode.key).count() == 3, what="three reviews are kept")
    browser.open(f"{LIST}{episode.pk}/change/")
    browser.picture("admin-alert.png", height=0)
    with page.expect_download() as download:
        page.click("#timeline a:has-text('proof') >> nth=0")
    assert download.value.suggested_filename.endswith(".proof.json")
    browser.follow("text=Runbook")
    assert "Mitigation" in page.content()


def look_around(browser: Browser) -> None:
    page = browser.page
    browser.open(LIST)
    browser.picture("admin-alerts.png")
    page.click("text=Filters")
    page.select_option("select[name=state]", "firing", force=True)
    browser.follow("button:has-text('Apply Filters')")
    assert "state=firing" in page.url
    browser.open(f"{LIST}statistics/?days=30")
    browser.picture("admin-alert-statistics.png", height=0)
    for subject in ("delivery", "gap", "review", "checkpoint", "verification", "archive", "view", "accesstoken"):
        browser.open(f"/admin/alerts_audit/{subject}/")
        assert page.locator("#changelist").count() == 1
    browser.open("/admin/alerts_audit/checkpoint/")
    browser.follow("#result_list tbody th a")
    assert "Public key that signed it" in page.content()
