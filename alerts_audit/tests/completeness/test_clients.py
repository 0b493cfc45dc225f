"""Asking Alertmanager and Prometheus: whatever they answer, it is an answer or a PollError."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts_audit.completeness import clients
from alerts_audit.completeness.clients import Alertmanager, PollError, Prometheus, failed_notifications, to_seconds
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


@pytest.mark.parametrize(
    "content", [b"<html>\n", b"%b NaN\n" % clients.FAILED.encode(), b"%b +Inf\n" % clients.FAILED.encode()]
)
def test_metrics_that_count_nothing_are_a_poll_error_which_costs_no_other_source_its_turn(content):
    with fake_server(lambda path: (200, content)) as server, pytest.raises(PollError, match="with counts"):
        Alertmanager(server.url).failed()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "no address", "http://[", ""])
def test_an_address_without_an_answer_is_a_poll_error(url):
    with pytest.raises(PollError):
        Alertmanager(url).alerts()


def test_an_answer_without_end_is_a_poll_error(monkeypatch):
    monkeypatch.setattr(clients, "MAX_ANSWER", 1000)
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


# --- Prometheus --------------------------------------------------------------------------------------------


def answers(configuration: str, *series: dict[str, Any]) -> Any:
    def answer(path: str) -> tuple[int, Any]:
        if path == "/api/v1/status/config":
            return 200, {"data": {"yaml": configuration}}
        return 200, {"data": {"result": list(series)}}

    return answer


FIRING = {
    "metric": {"__name__": "ALERTS", "alertstate": "firing", "alertname": "A", "zone": "own"},
    "values": [[1763812800, "1"], [1763812815.5, "1"]],
}
EXTERNAL = "global: {external_labels: {region: north, zone: outer}}\n"


def labels_with(configuration: str) -> dict[str, str]:
    with fake_server(answers(configuration, FIRING)) as server:
        [series] = Prometheus(server.url).firing(NOW, NOW + timedelta(seconds=15))
    return series.labels


def test_external_labels_are_added_where_the_alert_has_none():
    assert labels_with(EXTERNAL) == {"alertname": "A", "zone": "own", "region": "north"}


def test_without_a_configuration_the_labels_are_the_alerts_own():
    assert labels_with("") == {"alertname": "A", "zone": "own"}


def test_an_expression_that_only_go_understands_is_reported_and_delays_no_other_source():
    with pytest.raises(PollError, match="an unsupported rule"):
        labels_with("alerting: {alert_relabel_configs: [{action: labeldrop, regex: '\\pL+'}]}")


def test_labels_that_are_dropped_on_the_way_are_dropped_here():
    relabelling = "alerting: {alert_relabel_configs: [{action: labeldrop, regex: zo.e}]}"

    assert labels_with(EXTERNAL + relabelling) == {"alertname": "A", "region": "north"}


def test_labels_that_are_replaced_on_the_way_are_replaced_here():
    relabelling = "alerting: {alert_relabel_configs: [{action: replace, target_label: region, replacement: x}]}"

    assert labels_with(EXTERNAL + relabelling) == {"alertname": "A", "zone": "own", "region": "x"}


def test_external_labels_are_left_out_where_relabelling_may_change_them():
    relabelling = "alerting: {alert_relabel_configs: [{action: of-a-later-version, target_label: region}]}"

    assert labels_with(EXTERNAL + relabelling) == {"alertname": "A", "zone": "own"}


DROP_REGION, DROP_ZONE = "{regex: region, action: labeldrop}", "{regex: zone, action: labeldrop}"


def alertmanagers(*relabellings: str) -> str:
    """Several Alertmanagers behind one Prometheus: 127.0.0.1:9000, 9001, ..., each with its own relabelling."""
    entries = [
        f"{{static_configs: [{{targets: ['127.0.0.1:{9000 + number}']}}], alert_relabel_configs: [{steps}]}}"
        for number, steps in enumerate(relabellings)
    ]
    return f"{EXTERNAL}alerting: {{alertmanagers: [{', '.join(entries)}]}}"


def labels_of(configuration: str, alertmanager_url: str = "") -> tuple[list[dict[str, str]], bool]:
    """The labels that can be compared, and whether they are all of the webhook's."""
    with fake_server(answers(configuration, FIRING)) as server:
        prometheus = Prometheus(server.url, alertmanager_url)
        firing = prometheus.firing(NOW, NOW + timedelta(seconds=15))
    return [series.labels for series in firing], prometheus.knows_all_labels


@pytest.mark.parametrize("entries", [[DROP_REGION], [DROP_REGION, DROP_REGION]], ids=["one", "a pair"])
def test_alerts_dropped_by_one_alertmanagers_own_relabelling_are_dropped_here(entries):
    assert labels_of(alertmanagers(*entries)) == ([{"alertname": "A", "zone": "own"}], True)


def test_its_own_relabelling_comes_after_the_one_for_all():
    configuration = alertmanagers("{source_labels: [region], target_label: place}")
    for_all = "alerting: {alert_relabel_configs: [{target_label: region, replacement: x}], "

    assert labels_of(configuration.replace("alerting: {", for_all)) == (
        [{"alertname": "A", "zone": "own", "region": "x", "place": "x"}],
        True,
    )


def test_where_alertmanagers_get_different_labels_those_that_all_get_are_compared():
    assert labels_of(alertmanagers(DROP_REGION, DROP_ZONE)) == ([{"alertname": "A"}], False)


def test_the_alertmanager_of_the_same_source_is_known_by_its_address():
    labels = labels_of(alertmanagers(DROP_REGION, DROP_ZONE), "http://127.0.0.1:9001/")

    assert labels == ([{"alertname": "A", "region": "north"}], True)


def test_an_alert_that_is_not_sent_is_not_missed():
    assert labels_of(alertmanagers("{source_labels: [zone], regex: own, action: drop}")) == ([], True)


def test_the_range_is_asked_for_as_raw_samples():
    with fake_server(answers("", FIRING)) as server:
        [series] = Prometheus(server.url).firing(NOW, NOW + timedelta(seconds=75))

    assert [sample.timestamp() for sample in series.samples] == [1763812800, 1763812815.5]
    assert "%5B75s%5D" in server.asked[0].path
    assert f"time={(NOW + timedelta(seconds=75)).timestamp():.3f}" in server.asked[0].path


@pytest.mark.parametrize("content", [{"data": {"yaml": "a: [b"}}, {"data": 1}, {}, b"x"])
def test_a_configuration_that_cannot_be_read_is_a_poll_error(content):
    with fake_server(lambda path: (200, content)) as server, pytest.raises(PollError):
        _ = Prometheus(server.url).evaluation_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("1m30s", 90), ("200ms", 0.2), ("1d", 86_400), ("1h", 3600), ("0s", 0)]
)
def test_durations_are_read_as_prometheus_writes_them(text, seconds):
    assert to_seconds(text) == pytest.approx(seconds)
