"""Asking Alertmanager: any answer is read, or is a PollError."""

from datetime import UTC, datetime

import pytest

from alerts_audit.completeness import http
from alerts_audit.completeness.alertmanager import FAILED, Alertmanager, failed_notifications
from alerts_audit.completeness.http import PollError
from alerts_audit.tests.completeness.servers import fake_server

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

ALERT = {
    "labels": {"alertname": "A"},
    "startsAt": "2026-11-22T11:00:00.000Z",
    "endsAt": "2026-11-22T12:00:00.000Z",
    "updatedAt": "2026-11-22T11:59:00.000Z",
    "fingerprint": "f",
    "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
}


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b"no"),
        (404, []),
        (301, b""),
        (200, b"<html>"),
        (200, b""),
        (200, {"a": 1}),
        (200, [1]),
        (200, [{"labels": {"a": "b"}}]),
        (200, [{**ALERT, "labels": {"a": 1}}]),
    ],
)
def test_an_answer_that_is_none_is_a_poll_error(status, content):
    with fake_server(lambda path: (status, content)) as server, pytest.raises(PollError):
        Alertmanager(server.url).alerts()


@pytest.mark.parametrize("content", [b"<html>\n", b"%b NaN\n" % FAILED.encode(), b"%b +Inf\n" % FAILED.encode()])
def test_metrics_that_count_nothing_are_a_poll_error_which_costs_no_other_source_its_turn(content):
    with fake_server(lambda path: (200, content)) as server, pytest.raises(PollError, match="with counts"):
        Alertmanager(server.url).failed()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "no address", "http://[", ""])
def test_an_address_without_an_answer_is_a_poll_error(url):
    with pytest.raises(PollError):
        Alertmanager(url).alerts()


def test_an_answer_without_end_is_a_poll_error(monkeypatch):
    monkeypatch.setattr(http, "MAX_ANSWER", 1000)
    with fake_server(lambda path: (200, b" " * 2000)) as server, pytest.raises(PollError, match="more than 1000"):
        Alertmanager(server.url).alerts()


def test_labels_that_change_during_an_alert_are_left_out():
    with fake_server(lambda path: (200, [ALERT])) as server:
        [alert] = Alertmanager(server.url).alerts()

    assert alert == {
        "labels": {"alertname": "A"},
        "starts_at": "2026-11-22T11:00:00.000Z",
        "fingerprint": "f",
        "state": "active",
        "silenced_by": [],
        "inhibited_by": [],
    }
    assert "silenced=true&inhibited=true&active=true&unprocessed=true" in server.asked[0].path


def test_the_order_of_the_answer_means_nothing():
    alerts = [{**ALERT, "labels": {"alertname": name}} for name in "BCA"]
    with fake_server(lambda path: (200, alerts)) as server:
        first = Alertmanager(server.url).alerts()
        alerts.reverse()
        assert Alertmanager(server.url).alerts() == first


def test_a_time_interval_mutes_as_a_silence_does():
    status = {"state": "suppressed", "silencedBy": [], "inhibitedBy": [], "mutedBy": ["nights"]}
    with fake_server(lambda path: (200, [{**ALERT, "status": status}])) as server:
        assert Alertmanager(server.url).alerts()[0]["muted_by"] == ["nights"]


@pytest.mark.parametrize(("status", "content"), [(404, b""), (200, b"x"), (200, [])])
def test_a_silence_that_cannot_be_read_is_at_least_its_id(status, content):
    with fake_server(lambda path: (status, content)) as server:
        assert Alertmanager(server.url).silence("s-1") == {"id": "s-1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('alertmanager_notifications_failed_total{integration="webhook"} 3', {"webhook": 3}),
        (
            'alertmanager_notifications_failed_total{integration="webhook",reason="clientError"} 2\n'
            'alertmanager_notifications_failed_total{integration="webhook",reason="serverError"} 1',
            {"webhook clientError": 2, "webhook serverError": 1},
        ),
        ("up 1", {}),
    ],
)
def test_failed_notifications_are_read_with_and_without_a_reason(text, expected):
    assert failed_notifications(f"# TYPE alertmanager_notifications_failed_total counter\n{text}\n") == expected
