"""Asking Prometheus: any answer is read, or is a PollError."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.prometheus import Prometheus, to_seconds
from alerts_audit.tests.completeness.servers import fake_server

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


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


def test_a_label_whose_name_is_utf_8_is_set_on_the_way():
    relabelling = "alerting: {alert_relabel_configs: [{target_label: k8s.cluster, replacement: x}]}"

    assert labels_of(relabelling) == ([{"alertname": "A", "zone": "own", "k8s.cluster": "x"}], True)


def test_a_label_whose_name_not_every_version_sets_is_left_out():
    relabelling = "alerting: {alert_relabel_configs: [{source_labels: [zone], target_label: $1.x, replacement: x}]}"

    assert labels_of(relabelling) == ([{"alertname": "A", "zone": "own"}], False)


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
        _ = Prometheus(server.url).pause


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("1m30s", 90), ("200ms", 0.2), ("1d", 86_400), ("1h", 3600), ("0s", 0)]
)
def test_durations_are_read_as_prometheus_writes_them(text, seconds):
    assert to_seconds(text) == pytest.approx(seconds)
