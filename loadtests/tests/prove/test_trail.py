"""The comparison of what fired with the trail finds an alert that the trail lacks."""

from datetime import UTC, datetime, timedelta

import pytest

from loadtests.prove.trail import Period, labels_of, periods

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


WEB, WORKER = ({"alertname": "TargetDown", "job": job} for job in ("web", "worker"))


def period(labels: dict[str, str], first: float, last: float) -> Period:
    return Period(labels, NOON + timedelta(seconds=first), NOON + timedelta(seconds=last))


def test_a_pause_between_samples_ends_a_firing():
    samples = [(NOON.timestamp() + second, "1") for second in (0, 1, 2, 10, 11)]

    assert list(periods(WEB, samples)) == [period(WEB, 0, 2), period(WEB, 10, 11)]


@pytest.mark.parametrize(
    ("first", "last", "covered"),
    [(100, 200, True), (120, 130, True), (50, 96, True), (204, 300, True), (50, 90, False), (210, 300, False)],
)
def test_a_record_covers_the_firings_of_its_alert_in_its_time(first, last, covered):
    assert period(WEB, 100, 200).covers(period(WEB, first, last)) is covered


@pytest.mark.parametrize("other", [{"alertname": "ServiceDown"}, WORKER])
def test_a_record_of_another_alert_or_place_covers_nothing(other):
    assert not period(other, 100, 200).covers(period(WEB, 100, 200))


def test_a_record_may_have_labels_that_prometheus_adds_to_what_it_sends():
    assert period({**WEB, "region": "north"}, 100, 200).covers(period(WEB, 100, 200))


def test_an_alert_has_the_labels_of_its_series_without_those_of_the_series_itself():
    assert labels_of({"__name__": "ALERTS", "alertstate": "firing", **WEB}) == WEB
