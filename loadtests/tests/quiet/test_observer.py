from datetime import UTC, datetime

import pytest

from loadtests.quiet.observer import Observer

BEGAN = 1_800_000_000.0


@pytest.fixture
def observer() -> Observer:
    return Observer(began=BEGAN, speed=20)


def alert(state: str, since: float, name: str = "FraudHigh", **labels: str) -> dict:
    active = datetime.fromtimestamp(BEGAN + since, UTC).isoformat()
    return {"labels": {"alertname": name, **labels}, "state": state, "activeAt": active}


def test_the_heartbeat_is_no_false_positive(observer):
    assert observer.note([alert("firing", 0, "Watchdog")], BEGAN + 5) == []
    assert observer.as_dict() == {"false_positives": {}, "pending_seconds": {}, "blind_seconds": 0}


def test_a_firing_alert_counts_once_in_its_hour_of_the_rules(observer):
    for seconds in (190, 191, 192):  # 190 s are 63 minutes at speed 20
        observer.note([alert("firing", 185)], BEGAN + seconds)

    assert observer.as_dict()["false_positives"] == {"FraudHigh": {"1": 1}}


def test_two_series_and_a_second_start_count_each(observer):
    observer.note([alert("firing", 1, currency="EUR"), alert("firing", 1, currency="JPY")], BEGAN + 2)
    observer.note([alert("firing", 9, currency="EUR")], BEGAN + 10)

    assert observer.as_dict()["false_positives"] == {"FraudHigh": {"0": 3}}


def test_the_longest_time_pending_is_kept_in_the_rules_time(observer):
    observer.note([alert("pending", 0)], BEGAN + 4)
    observer.note([alert("pending", 10)], BEGAN + 11)

    assert observer.as_dict()["pending_seconds"] == {"FraudHigh": 80}
    assert observer.as_dict()["false_positives"] == {}


def test_the_time_before_looks_without_the_heartbeat_is_blind_in_the_rules_time(observer):
    heartbeat = alert("firing", -60, "Watchdog")
    for seconds, alerts in ((1, [heartbeat]), (3, []), (4, [alert("pending", 3)]), (9, [heartbeat])):
        observer.note(alerts, BEGAN + seconds)

    assert observer.as_dict()["blind_seconds"] == 60


def test_a_run_whose_prometheus_never_answers_is_blind_from_its_beginning(observer):
    observer.note([], BEGAN + 10)

    assert observer.as_dict()["blind_seconds"] == 200


def test_an_alert_that_arrived_counts_even_if_it_was_not_seen_firing(observer):
    observer.note([alert("firing", 1)], BEGAN + 2)

    observer.note_arrived({"FraudHigh", "SalesLow"}, BEGAN + 190)

    assert observer.as_dict()["false_positives"] == {"FraudHigh": {"0": 1}, "SalesLow": {"1": 1}}
